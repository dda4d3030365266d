#include "localkms/key_ring.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fcntl.h>

#include "base/check.h"
#include "base/errno_text.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/owned.h"
#include "base/random.h"

namespace bulla {
namespace {

using CustomerKeyId = Uuid<struct CustomerKeyIdTag>;
using CipherContextPtr = Owned<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;

// A key file: magic, milliseconds since 1970 (8 bytes, big-endian), the key, the description.
constexpr std::string_view kFileMagic = "BULLAKM1";
constexpr std::string_view kFileSuffix = ".key";
constexpr std::size_t kFileHeadBytes = 8 + 8 + 32;

// A blob: version, length of the ARN (2 bytes), ARN, nonce, ciphertext, tag.
constexpr std::uint8_t kBlobVersion = 1;
constexpr std::size_t kArnBytesMax = 256;
constexpr std::size_t kNonceBytes = 12;
constexpr std::size_t kTagBytes = 16;

absl::Status FileError(std::string_view doing, const std::string& path) {
  return absl::UnavailableError(fmt::format("cannot {} {}: {}", doing, path, ErrnoText(errno)));
}

absl::Status ReadAll(int fd, MutableByteSpan out, const std::string& path) {
  while (!out.empty()) {
    ssize_t got = ::read(fd, out.data(), out.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return absl::FailedPreconditionError(fmt::format("{}: damaged key file", path));
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return absl::OkStatus();
}

void AppendCounted(Bytes& out, ByteSpan bytes) {
  ByteArray<4> size;
  StoreBigEndian32(static_cast<std::uint32_t>(bytes.size()), size.data());
  out.insert(out.end(), size.begin(), size.end());
  out.insert(out.end(), bytes.begin(), bytes.end());
}

// What is authenticated beside the plain text: the blob's head, and the context, in which each
// name and value is preceded by its length so that no two contexts run into one.
Bytes AssociatedData(ByteSpan head, const EncryptionContext& context) {
  Bytes out(head.begin(), head.end());
  for (const auto& [name, value] : context) {
    AppendCounted(out, AsBytes(name));
    AppendCounted(out, AsBytes(value));
  }
  return out;
}

Bytes BlobHead(std::string_view arn) {
  Bytes head;
  head.reserve(3 + arn.size());
  head.push_back(kBlobVersion);
  head.push_back(static_cast<std::uint8_t>(arn.size() >> 8));
  head.push_back(static_cast<std::uint8_t>(arn.size()));
  head.insert(head.end(), arn.begin(), arn.end());
  return head;
}

absl::Status NotOurs() { return absl::InvalidArgumentError("not a ciphertext of this KMS"); }

struct BlobParts {
  ByteSpan head;
  std::string_view arn;
  ByteSpan nonce;
  ByteSpan ciphertext;
  ByteSpan tag;
};

absl::StatusOr<BlobParts> ParseBlob(ByteSpan blob) {
  if (blob.size() < 3 || blob.size() > kCiphertextBytesMax || blob[0] != kBlobVersion) {
    return NotOurs();
  }
  std::size_t arn_size = static_cast<std::size_t>(blob[1]) << 8 | blob[2];
  if (arn_size > kArnBytesMax || blob.size() < 3 + arn_size + kNonceBytes + kTagBytes) {
    return NotOurs();
  }
  BlobParts parts;
  parts.head = blob.first(3 + arn_size);
  parts.arn = AsText(parts.head.subspan(3));
  parts.nonce = blob.subspan(parts.head.size(), kNonceBytes);
  parts.tag = blob.last(kTagBytes);
  ByteSpan rest = blob.subspan(parts.head.size() + kNonceBytes);
  parts.ciphertext = rest.first(rest.size() - kTagBytes);
  return parts;
}

}  // namespace

std::string KeyRing::Arn(std::string_view id) const {
  return fmt::format("arn:aws:kms:{}:{}:key/{}", region_, kAccount, id);
}

absl::StatusOr<std::unique_ptr<KeyRing>> KeyRing::Open(const std::string& dir,
                                                       const std::string& region) {
  std::error_code error;
  if (std::filesystem::create_directories(dir, error)) ::chmod(dir.c_str(), 0700);
  std::unique_ptr<KeyRing> ring(new KeyRing(dir, region));
  std::filesystem::directory_iterator files(dir, error);
  if (error)
    return absl::UnavailableError(fmt::format("cannot use {}: {}", dir, ErrnoText(error.value())));
  for (const auto& entry : files) {
    // Anything else is a key whose writing was cut short (it was never shown), or not ours.
    if (entry.path().extension() != kFileSuffix) continue;
    BULLA_RETURN_IF_ERROR(ring->Load(entry.path().string()));
  }
  return ring;
}

absl::Status KeyRing::Load(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) return FileError("read", path);
  std::size_t size = static_cast<std::size_t>(info.st_size);
  auto key = std::make_unique<CustomerKey>();
  ByteArray<16> head;
  if (size < kFileHeadBytes || size > kFileHeadBytes + kDescriptionBytesMax) {
    return absl::FailedPreconditionError(fmt::format("{}: damaged key file", path));
  }
  BULLA_RETURN_IF_ERROR(ReadAll(fd.get(), head, path));
  BULLA_RETURN_IF_ERROR(ReadAll(fd.get(), key->key.Expose(), path));
  Bytes description(size - kFileHeadBytes);
  BULLA_RETURN_IF_ERROR(ReadAll(fd.get(), description, path));
  key->id = std::filesystem::path(path).stem().string();
  if (AsText(head).substr(0, 8) != kFileMagic || !CustomerKeyId::Parse(key->id)) {
    return absl::FailedPreconditionError(fmt::format("{}: not a key file of ours", path));
  }
  key->arn = Arn(key->id);
  key->description = std::string(AsText(description));
  key->created_at = WallTime(
      std::chrono::milliseconds(static_cast<std::int64_t>(LoadBigEndian64(head.data() + 8))));
  MutexLock lock(mutex_);
  keys_.emplace(key->id, std::move(key));
  return absl::OkStatus();
}

absl::Status KeyRing::Write(const CustomerKey& key) const {
  ByteArray<16> head;
  std::copy(kFileMagic.begin(), kFileMagic.end(), head.begin());
  StoreBigEndian64(static_cast<std::uint64_t>(UnixMillis(key.created_at)), head.data() + 8);
  const ByteSpan parts[] = {head, key.key.Expose(), AsBytes(key.description)};
  return WriteFileAtomically(fmt::format("{}/{}{}", dir_, key.id, kFileSuffix), parts);
}

absl::StatusOr<const CustomerKey*> KeyRing::Create(std::string description, WallTime now) {
  auto key = std::make_unique<CustomerKey>();
  key->id = CustomerKeyId::New(now).ToString();
  key->arn = Arn(key->id);
  key->description = std::move(description);
  key->created_at = now;
  FillRandom(key->key.Expose());
  {
    MutexLock lock(mutex_);
    if (keys_.size() >= kKeysMax) {
      return absl::ResourceExhaustedError(fmt::format("there are {} keys already", kKeysMax));
    }
  }
  BULLA_RETURN_IF_ERROR(Write(*key));
  MutexLock lock(mutex_);
  const CustomerKey* made = key.get();
  keys_.emplace(made->id, std::move(key));
  return made;
}

const CustomerKey* KeyRing::Find(std::string_view id_or_arn) const {
  std::string prefix = Arn("");
  if (id_or_arn.starts_with(prefix)) id_or_arn.remove_prefix(prefix.size());
  MutexLock lock(mutex_);
  auto found = keys_.find(id_or_arn);
  return found == keys_.end() ? nullptr : found->second.get();
}

std::vector<const CustomerKey*> KeyRing::List() const {
  MutexLock lock(mutex_);
  std::vector<const CustomerKey*> out;
  for (const auto& entry : keys_) out.push_back(entry.second.get());
  return out;
}

absl::StatusOr<Bytes> SealUnderKey(const CustomerKey& key, const EncryptionContext& context,
                                   ByteSpan plaintext) {
  BULLA_CHECK(plaintext.size() <= kPlaintextBytesMax, "callers bound the plain text");
  Bytes blob = BlobHead(key.arn);
  Bytes associated = AssociatedData(blob, context);
  ByteArray<kNonceBytes> nonce;
  FillRandom(nonce);
  blob.insert(blob.end(), nonce.begin(), nonce.end());
  std::size_t at = blob.size();
  blob.resize(at + plaintext.size() + kTagBytes);
  CipherContextPtr cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  bool sealed = cipher &&
                EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr,
                                   key.key.Expose().data(), nonce.data()) == 1 &&
                EVP_EncryptUpdate(cipher.get(), nullptr, &length, associated.data(),
                                  static_cast<int>(associated.size())) == 1 &&
                EVP_EncryptUpdate(cipher.get(), blob.data() + at, &length, plaintext.data(),
                                  static_cast<int>(plaintext.size())) == 1 &&
                EVP_EncryptFinal_ex(cipher.get(), blob.data() + at + length, &length) == 1 &&
                EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes,
                                    blob.data() + at + plaintext.size()) == 1;
  if (!sealed) return absl::InternalError("AES-256-GCM encryption failed");
  return blob;
}

absl::StatusOr<std::string> CiphertextKeyArn(ByteSpan blob) {
  BULLA_ASSIGN_OR_RETURN(BlobParts parts, ParseBlob(blob));
  return std::string(parts.arn);
}

absl::StatusOr<Plaintext> OpenUnderKey(const CustomerKey& key, const EncryptionContext& context,
                                       ByteSpan blob) {
  BULLA_ASSIGN_OR_RETURN(BlobParts parts, ParseBlob(blob));
  if (parts.ciphertext.size() > kPlaintextBytesMax) return NotOurs();
  Bytes associated = AssociatedData(parts.head, context);
  Bytes tag(parts.tag.begin(), parts.tag.end());
  Plaintext plaintext;
  plaintext.size = parts.ciphertext.size();
  std::uint8_t* out = plaintext.bytes.Expose().data();
  CipherContextPtr cipher(EVP_CIPHER_CTX_new());
  int length = 0;
  bool opened =
      cipher &&
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.key.Expose().data(),
                         parts.nonce.data()) == 1 &&
      EVP_DecryptUpdate(cipher.get(), nullptr, &length, associated.data(),
                        static_cast<int>(associated.size())) == 1 &&
      EVP_DecryptUpdate(cipher.get(), out, &length, parts.ciphertext.data(),
                        static_cast<int>(parts.ciphertext.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(cipher.get(), out + length, &length) == 1;
  if (!opened) return absl::InvalidArgumentError("ciphertext, key and context do not match");
  return plaintext;
}

}  // namespace bulla
