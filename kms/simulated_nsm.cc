#include "kms/simulated_nsm.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <vector>

#include <fcntl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "attest/cbor.h"
#include "base/check.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "base/owned.h"
#include "base/random.h"

namespace bulla {
namespace {

using BioPtr = Owned<BIO, BIO_free>;
using KeyPtr = Owned<EVP_PKEY, EVP_PKEY_free>;
using X509Ptr = Owned<X509, X509_free>;
using NamePtr = Owned<X509_NAME, X509_NAME_free>;
using ExtensionPtr = Owned<X509_EXTENSION, X509_EXTENSION_free>;
using MdContextPtr = Owned<EVP_MD_CTX, EVP_MD_CTX_free>;
using SignaturePtr = Owned<ECDSA_SIG, ECDSA_SIG_free>;

constexpr int kLockedPcrs = 16;
constexpr std::string_view kModuleRegion = "simulated";
constexpr auto kRootLife = std::chrono::hours(24 * 3650);
// The lives and the back-dating of AWS's certificates.
constexpr auto kInstanceLife = std::chrono::hours(24);
constexpr auto kLeafLife = std::chrono::hours(3);
constexpr auto kBackDating = std::chrono::seconds(3);
constexpr auto kReissueBeforeExpiry = std::chrono::minutes(15);

absl::Status OpensslError(std::string_view what) {
  return absl::InternalError(fmt::format("simulated NSM: {} failed", what));
}

struct Issuer {
  X509* certificate;  // null: self-signed
  EVP_PKEY* key;
};

struct CertificateSpec {
  std::string common_name;
  WallTime not_before;
  WallTime not_after;
  const char* basic_constraints;
  const char* key_usage;
};

absl::Status AddExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  if (!extension || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return OpensslError("making a certificate extension");
  }
  return absl::OkStatus();
}

bool SetName(X509_NAME* name, std::string_view common_name) {
  auto add = [&](const char* field, std::string_view value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
  };
  return add("O", "Bulla") && add("OU", "Simulated Nitro") && add("CN", common_name);
}

absl::StatusOr<X509Ptr> IssueCertificate(const CertificateSpec& spec, EVP_PKEY* subject_key,
                                         Issuer issuer) {
  X509Ptr certificate(X509_new());
  NamePtr name(X509_NAME_new());
  std::uint64_t serial = RandomUint64() >> 1;  // positive
  bool filled = certificate && name && SetName(name.get(), spec.common_name) &&
                X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
                ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial) == 1 &&
                ASN1_TIME_set(X509_getm_notBefore(certificate.get()),
                              std::chrono::system_clock::to_time_t(spec.not_before)) != nullptr &&
                ASN1_TIME_set(X509_getm_notAfter(certificate.get()),
                              std::chrono::system_clock::to_time_t(spec.not_after)) != nullptr &&
                X509_set_subject_name(certificate.get(), name.get()) == 1 &&
                X509_set_issuer_name(certificate.get(),
                                     issuer.certificate ? X509_get_subject_name(issuer.certificate)
                                                        : name.get()) == 1 &&
                X509_set_pubkey(certificate.get(), subject_key) == 1;
  if (!filled) return OpensslError("filling a certificate");
  X509* issuing = issuer.certificate ? issuer.certificate : certificate.get();
  BULLA_RETURN_IF_ERROR(
      AddExtension(certificate.get(), issuing, NID_basic_constraints, spec.basic_constraints));
  BULLA_RETURN_IF_ERROR(AddExtension(certificate.get(), issuing, NID_key_usage, spec.key_usage));
  if (X509_sign(certificate.get(), issuer.key, EVP_sha384()) == 0) {
    return OpensslError("signing a certificate");
  }
  return certificate;
}

absl::StatusOr<Bytes> ToDer(X509* certificate) {
  unsigned char* der = nullptr;
  int length = i2d_X509(certificate, &der);
  if (length <= 0) return OpensslError("encoding a certificate");
  Bytes out(der, der + length);
  OPENSSL_free(der);
  return out;
}

absl::StatusOr<KeyPtr> NewP384Key() {
  KeyPtr key(EVP_EC_gen("P-384"));
  if (!key) return OpensslError("making a P-384 key");
  return key;
}

// Writes through a temporary name, so that no reader sees half a file.
absl::Status WriteFile(const std::string& path, mode_t mode, BIO* content) {
  char* data = nullptr;
  long size = BIO_get_mem_data(content, &data);
  std::string temporary = path + ".new";
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  bool written = fd.valid() && ::write(fd.get(), data, static_cast<std::size_t>(size)) == size &&
                 ::fsync(fd.get()) == 0 && ::rename(temporary.c_str(), path.c_str()) == 0;
  if (written) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
}

absl::Status WriteRoot(const std::string& dir, WallTime now) {
  BULLA_ASSIGN_OR_RETURN(KeyPtr key, NewP384Key());
  CertificateSpec spec{"bulla.simulated-nitro-enclaves", now - kBackDating, now + kRootLife,
                       "critical,CA:TRUE", "critical,digitalSignature,keyCertSign,cRLSign"};
  BULLA_ASSIGN_OR_RETURN(X509Ptr certificate,
                         IssueCertificate(spec, key.get(), {nullptr, key.get()}));
  BioPtr key_pem(BIO_new(BIO_s_secmem()));
  BioPtr certificate_pem(BIO_new(BIO_s_mem()));
  if (!key_pem || !certificate_pem ||
      PEM_write_bio_PKCS8PrivateKey(key_pem.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                    nullptr) != 1 ||
      PEM_write_bio_X509(certificate_pem.get(), certificate.get()) != 1) {
    return OpensslError("encoding the root");
  }
  // The certificate comes last: where it is, the key is.
  BULLA_RETURN_IF_ERROR(WriteFile(dir + "/root.key", 0600, key_pem.get()));
  return WriteFile(dir + "/root.pem", 0644, certificate_pem.get());
}

// SHA384(zeros || SHA384(content)): how images are measured into a register.
Pcr Measure(std::string_view content) {
  ByteArray<96> extended{};
  SHA384(reinterpret_cast<const unsigned char*>(content.data()), content.size(),
         extended.data() + 48);
  Pcr pcr;
  SHA384(extended.data(), extended.size(), pcr.data());
  return pcr;
}

// r || s, 96 bytes, from OpenSSL's DER.
absl::StatusOr<Bytes> SignEs384(EVP_PKEY* key, ByteSpan message) {
  MdContextPtr context(EVP_MD_CTX_new());
  Bytes der(128);
  std::size_t length = der.size();
  if (!context || EVP_DigestSignInit(context.get(), nullptr, EVP_sha384(), nullptr, key) != 1 ||
      EVP_DigestSign(context.get(), der.data(), &length, message.data(), message.size()) != 1) {
    return OpensslError("signing");
  }
  const unsigned char* at = der.data();
  SignaturePtr pair(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(length)));
  Bytes raw(96);
  if (!pair || BN_bn2binpad(ECDSA_SIG_get0_r(pair.get()), raw.data(), 48) != 48 ||
      BN_bn2binpad(ECDSA_SIG_get0_s(pair.get()), raw.data() + 48, 48) != 48) {
    return OpensslError("encoding a signature");
  }
  return raw;
}

std::string NewModuleId() {
  ByteArray<17> random;
  FillRandom(random);
  return fmt::format("i-{}-enc{}", HexEncode(ByteSpan(random).first(9)).substr(0, 17),
                     HexEncode(ByteSpan(random).last(8)));
}

}  // namespace

absl::Status MakeSimulatedRoot(const std::string& dir, WallTime now) {
  std::error_code error;
  if (std::filesystem::create_directories(dir, error)) ::chmod(dir.c_str(), 0700);
  UniqueFd lock(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock.valid() || ::flock(lock.get(), LOCK_EX) != 0) {
    return absl::UnavailableError(fmt::format("cannot use {}: {}", dir, std::strerror(errno)));
  }
  if (std::filesystem::exists(dir + "/root.pem", error)) return absl::OkStatus();
  return WriteRoot(dir, now);
}

std::array<Pcr, kPcrCount> SimulatedPcrs(std::string_view label) {
  std::array<Pcr, kPcrCount> pcrs{};
  if (label.empty()) return pcrs;
  for (int i = 0; i < 3; ++i) {
    pcrs[static_cast<std::size_t>(i)] = Measure(fmt::format("bulla simulated pcr{} {}", i, label));
  }
  return pcrs;
}

// The module itself: registers, certificate chain, and the operations that we use. Thread-safe.
class SimulatedNsm::Module {
 public:
  Module(KeyPtr root_key, X509Ptr root, const std::array<Pcr, kPcrCount>& pcrs, const Clock& clock)
      : root_key_(std::move(root_key)), root_(std::move(root)), pcrs_(pcrs), clock_(clock) {}

  Bytes Answer(ByteSpan request) BULLA_EXCLUDES(mutex_) {
    absl::StatusOr<Bytes> reply = Dispatch(request);
    if (reply.ok()) return *std::move(reply);
    bool malformed = absl::IsInvalidArgument(reply.status());
    return ErrorReply(malformed ? "InvalidOperation" : "InternalError");
  }

 private:
  // A leaf's chain is made anew before it expires, as AWS does it.
  struct Chain {
    Bytes intermediate;
    Bytes leaf;
    KeyPtr leaf_key;
    WallTime reissue_at;
  };

  static Bytes ErrorReply(std::string_view error) {
    return CborWriter().Map(1).Text("Error").Text(error).bytes();
  }

  absl::StatusOr<Bytes> Dispatch(ByteSpan request) BULLA_EXCLUDES(mutex_) {
    CborReader reader(request);
    BULLA_ASSIGN_OR_RETURN(CborReader::Kind kind, reader.Peek());
    if (kind == CborReader::Kind::kText) {
      BULLA_ASSIGN_OR_RETURN(std::string_view name, reader.ReadText(64));
      return name == "GetRandom" ? GetRandom() : ErrorReply("InvalidOperation");
    }
    absl::StatusOr<Bytes> reply = ErrorReply("InvalidOperation");
    BULLA_RETURN_IF_ERROR(reader.ReadMap(1, [&]() -> absl::Status {
      BULLA_ASSIGN_OR_RETURN(std::string_view name, reader.ReadText(64));
      if (name == "Attestation") {
        reply = Attest(reader);
      } else if (name == "DescribePCR") {
        reply = DescribePcr(reader);
      } else {
        return reader.Skip();
      }
      return reply.status();
    }));
    return reply;
  }

  static Bytes GetRandom() {
    ByteArray<kNsmRandomBytes> random;
    FillRandom(random);
    return CborWriter().Map(1).Text("GetRandom").Map(1).Text("random").ByteString(random).bytes();
  }

  absl::StatusOr<Bytes> DescribePcr(CborReader& reader) const {
    std::uint64_t index = kPcrCount;
    BULLA_RETURN_IF_ERROR(reader.ReadMap(1, [&]() -> absl::Status {
      BULLA_ASSIGN_OR_RETURN(std::string_view key, reader.ReadText(64));
      if (key != "index") return reader.Skip();
      BULLA_ASSIGN_OR_RETURN(index, reader.ReadUnsigned());
      return absl::OkStatus();
    }));
    if (index >= kPcrCount) return ErrorReply("InvalidIndex");
    CborWriter reply;
    reply.Map(1).Text("DescribePCR").Map(2);
    reply.Text("lock").Bool(index < kLockedPcrs);
    reply.Text("data").ByteString(pcrs_[index]);
    return reply.bytes();
  }

  absl::StatusOr<Bytes> Attest(CborReader& reader) BULLA_EXCLUDES(mutex_) {
    NsmAttestRequest request;
    BULLA_RETURN_IF_ERROR(reader.ReadMap(3, [&]() -> absl::Status {
      BULLA_ASSIGN_OR_RETURN(std::string_view key, reader.ReadText(64));
      BULLA_ASSIGN_OR_RETURN(std::optional<ByteSpan> bytes,
                             reader.ReadBytesOrNull(kNsmRequestBytesMax));
      std::optional<Bytes> value;
      if (bytes) value = Bytes(bytes->begin(), bytes->end());
      if (key == "user_data") request.user_data = std::move(value);
      if (key == "nonce") request.nonce = std::move(value);
      if (key == "public_key") request.public_key = std::move(value);
      return absl::OkStatus();
    }));
    MutexLock lock(mutex_);
    WallTime now = clock_.WallNow();
    if (now >= chain_.reissue_at) {
      BULLA_ASSIGN_OR_RETURN(chain_, IssueChain(now));
    }
    BULLA_ASSIGN_OR_RETURN(Bytes document, Sign(Payload(request, now)));
    return CborWriter()
        .Map(1)
        .Text("Attestation")
        .Map(1)
        .Text("document")
        .ByteString(document)
        .bytes();
  }

  absl::StatusOr<Chain> IssueChain(WallTime now) const {
    BULLA_ASSIGN_OR_RETURN(KeyPtr instance_key, NewP384Key());
    BULLA_ASSIGN_OR_RETURN(KeyPtr leaf_key, NewP384Key());
    CertificateSpec instance{fmt::format("instance.{}.bulla", kModuleRegion), now - kBackDating,
                             now + kInstanceLife, "critical,CA:TRUE,pathlen:0",
                             "critical,keyCertSign"};
    BULLA_ASSIGN_OR_RETURN(X509Ptr intermediate, IssueCertificate(instance, instance_key.get(),
                                                                  {root_.get(), root_key_.get()}));
    CertificateSpec leaf_spec{fmt::format("{}.{}.bulla", module_id_, kModuleRegion),
                              now - kBackDating, now + kLeafLife, "critical,CA:FALSE",
                              "digitalSignature"};
    BULLA_ASSIGN_OR_RETURN(
        X509Ptr leaf,
        IssueCertificate(leaf_spec, leaf_key.get(), {intermediate.get(), instance_key.get()}));
    Chain chain;
    BULLA_ASSIGN_OR_RETURN(chain.intermediate, ToDer(intermediate.get()));
    BULLA_ASSIGN_OR_RETURN(chain.leaf, ToDer(leaf.get()));
    chain.leaf_key = std::move(leaf_key);
    chain.reissue_at = now + kLeafLife - kReissueBeforeExpiry;
    return chain;
  }

  // The fields in the order, and the outer map in the indefinite form, of today's documents.
  Bytes Payload(const NsmAttestRequest& request, WallTime now) const BULLA_REQUIRES(mutex_) {
    CborWriter payload;
    payload.IndefiniteMap();
    payload.Text("module_id").Text(module_id_);
    payload.Text("digest").Text("SHA384");
    payload.Text("timestamp").Unsigned(static_cast<std::uint64_t>(UnixMillis(now)));
    payload.Text("pcrs").Map(kLockedPcrs);
    for (std::size_t i = 0; i < kLockedPcrs; ++i) payload.Unsigned(i).ByteString(pcrs_[i]);
    payload.Text("certificate").ByteString(chain_.leaf);
    payload.Text("cabundle").Array(2);
    absl::StatusOr<Bytes> root = ToDer(root_.get());
    BULLA_CHECK(root.ok(), "the root was read from DER");
    payload.ByteString(*root).ByteString(chain_.intermediate);
    payload.Text("public_key").ByteStringOrNull(request.public_key);
    payload.Text("user_data").ByteStringOrNull(request.user_data);
    payload.Text("nonce").ByteStringOrNull(request.nonce);
    payload.Break();
    return payload.bytes();
  }

  // An untagged COSE_Sign1, as real modules write it.
  absl::StatusOr<Bytes> Sign(const Bytes& payload) const BULLA_REQUIRES(mutex_) {
    Bytes header = CborWriter().Map(1).Integer(1).Integer(-35).bytes();  // {alg: ES384}
    CborWriter to_be_signed;
    to_be_signed.Array(4).Text("Signature1").ByteString(header).ByteString({}).ByteString(payload);
    BULLA_ASSIGN_OR_RETURN(Bytes signature, SignEs384(chain_.leaf_key.get(), to_be_signed.bytes()));
    CborWriter document;
    document.Array(4).ByteString(header).Map(0).ByteString(payload).ByteString(signature);
    return document.bytes();
  }

  const KeyPtr root_key_;
  const X509Ptr root_;
  const std::array<Pcr, kPcrCount> pcrs_;
  const Clock& clock_;
  const std::string module_id_ = NewModuleId();

  Mutex mutex_;
  Chain chain_ BULLA_GUARDED_BY(mutex_);
};

SimulatedNsm::SimulatedNsm(std::unique_ptr<Module> module) : module_(std::move(module)) {}
SimulatedNsm::~SimulatedNsm() = default;

absl::StatusOr<std::unique_ptr<SimulatedNsm>> SimulatedNsm::Create(
    const std::string& root_dir, const std::array<Pcr, kPcrCount>& pcrs, const Clock& clock) {
  std::string key_path = root_dir + "/root.key";
  std::string certificate_path = root_dir + "/root.pem";
  BioPtr key_file(BIO_new_file(key_path.c_str(), "r"));
  KeyPtr key(key_file ? PEM_read_bio_PrivateKey(key_file.get(), nullptr, nullptr, nullptr)
                      : nullptr);
  if (!key) return absl::FailedPreconditionError(fmt::format("cannot read {}", key_path));
  BioPtr certificate_file(BIO_new_file(certificate_path.c_str(), "r"));
  X509Ptr root(certificate_file
                   ? PEM_read_bio_X509(certificate_file.get(), nullptr, nullptr, nullptr)
                   : nullptr);
  if (!root) return absl::FailedPreconditionError(fmt::format("cannot read {}", certificate_path));
  if (X509_check_private_key(root.get(), key.get()) != 1) {
    return absl::FailedPreconditionError(
        fmt::format("{} is not the key of {}", key_path, certificate_path));
  }
  return std::unique_ptr<SimulatedNsm>(
      new SimulatedNsm(std::make_unique<Module>(std::move(key), std::move(root), pcrs, clock)));
}

absl::StatusOr<Bytes> SimulatedNsm::Exchange(ByteSpan request) { return module_->Answer(request); }

}  // namespace bulla
