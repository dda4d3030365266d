#include "kms/simulated_nsm.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <fcntl.h>
#include <openssl/x509.h>

#include "attest/cbor.h"
#include "base/check.h"
#include "base/errno_text.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "base/owned.h"
#include "base/random.h"
#include "kms/certificates.h"

namespace bulla {
namespace {

using MdContextPtr = Owned<EVP_MD_CTX, EVP_MD_CTX_free>;
using SignaturePtr = Owned<ECDSA_SIG, ECDSA_SIG_free>;

constexpr int kLockedPcrs = 16;
constexpr std::string_view kModuleRegion = "simulated";
constexpr std::string_view kUnit = "Simulated Nitro";
constexpr auto kRootLife = std::chrono::hours(24 * 3650);
// The lives and the back-dating of AWS's certificates.
constexpr auto kInstanceLife = std::chrono::hours(24);
constexpr auto kLeafLife = std::chrono::hours(3);
constexpr auto kBackDating = std::chrono::seconds(3);
constexpr auto kReissueBeforeExpiry = std::chrono::minutes(15);

absl::Status OpensslError(std::string_view what) {
  return absl::InternalError(fmt::format("simulated NSM: {} failed", what));
}

absl::Status WriteRoot(const std::string& dir, WallTime now) {
  BULLA_ASSIGN_OR_RETURN(KeyHandle key, NewEcKey(Curve::kP384));
  CertificateSpec spec{.organizational_unit = std::string(kUnit),
                       .common_name = "bulla.simulated-nitro-enclaves",
                       .not_before = now - kBackDating,
                       .not_after = now + kRootLife,
                       .basic_constraints = "critical,CA:TRUE",
                       .key_usage = "critical,digitalSignature,keyCertSign,cRLSign",
                       .subject_alt_name = ""};
  BULLA_ASSIGN_OR_RETURN(CertificateHandle certificate, IssueCertificate(spec, key, {}));
  // The certificate comes last: where it is, the key is.
  BULLA_RETURN_IF_ERROR(WriteKeyPem(key, dir + "/root.key"));
  return WriteCertificatePem(certificate, dir + "/root.pem");
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
    return absl::UnavailableError(fmt::format("cannot use {}: {}", dir, ErrnoText(errno)));
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
  Module(KeyHandle root_key, CertificateHandle root, const std::array<Pcr, kPcrCount>& pcrs,
         const Clock& clock)
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
    KeyHandle leaf_key;
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
      const auto value = [&]() -> std::optional<Bytes> {
        if (!bytes) return std::nullopt;
        return Bytes(bytes->begin(), bytes->end());
      };
      if (key == "user_data") request.user_data = value();
      if (key == "nonce") request.nonce = value();
      if (key == "public_key") request.public_key = value();
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
    BULLA_ASSIGN_OR_RETURN(KeyHandle instance_key, NewEcKey(Curve::kP384));
    CertificateSpec instance{.organizational_unit = std::string(kUnit),
                             .common_name = fmt::format("instance.{}.bulla", kModuleRegion),
                             .not_before = now - kBackDating,
                             .not_after = now + kInstanceLife,
                             .basic_constraints = "critical,CA:TRUE,pathlen:0",
                             .key_usage = "critical,keyCertSign",
                             .subject_alt_name = ""};
    BULLA_ASSIGN_OR_RETURN(CertificateHandle intermediate,
                           IssueCertificate(instance, instance_key, {root_, root_key_}));
    Chain chain;
    BULLA_ASSIGN_OR_RETURN(chain.leaf_key, NewEcKey(Curve::kP384));
    CertificateSpec leaf_spec{.organizational_unit = std::string(kUnit),
                              .common_name = fmt::format("{}.bulla", module_id_),
                              .not_before = now - kBackDating,
                              .not_after = now + kLeafLife,
                              .basic_constraints = "critical,CA:FALSE",
                              .key_usage = "digitalSignature",
                              .subject_alt_name = ""};
    BULLA_ASSIGN_OR_RETURN(CertificateHandle leaf, IssueCertificate(leaf_spec, chain.leaf_key,
                                                                    {intermediate, instance_key}));
    BULLA_ASSIGN_OR_RETURN(chain.intermediate, CertificateToDer(intermediate));
    BULLA_ASSIGN_OR_RETURN(chain.leaf, CertificateToDer(leaf));
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
    absl::StatusOr<Bytes> root = CertificateToDer(root_);
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

  const KeyHandle root_key_;
  const CertificateHandle root_;
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
  BULLA_ASSIGN_OR_RETURN(KeyHandle key, ReadKeyPem(root_dir + "/root.key"));
  BULLA_ASSIGN_OR_RETURN(CertificateHandle root, ReadCertificatePem(root_dir + "/root.pem"));
  if (X509_check_private_key(root.get(), key.get()) != 1) {
    return absl::FailedPreconditionError(
        fmt::format("{}: root.key is not the key of root.pem", root_dir));
  }
  return std::unique_ptr<SimulatedNsm>(
      new SimulatedNsm(std::make_unique<Module>(std::move(key), std::move(root), pcrs, clock)));
}

absl::StatusOr<Bytes> SimulatedNsm::Exchange(ByteSpan request) { return module_->Answer(request); }

}  // namespace bulla
