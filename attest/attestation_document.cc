#include "attest/attestation_document.h"

#include <algorithm>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <set>

#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "attest/cbor.h"
#include "base/owned.h"

namespace bulla {
namespace {

using BioPtr = Owned<BIO, BIO_free>;
using X509Ptr = Owned<X509, X509_free>;
using StorePtr = Owned<X509_STORE, X509_STORE_free>;
using StoreContextPtr = Owned<X509_STORE_CTX, X509_STORE_CTX_free>;
using StackPtr = Owned<STACK_OF(X509), [](STACK_OF(X509) * stack) { sk_X509_free(stack); }>;
using MdContextPtr = Owned<EVP_MD_CTX, EVP_MD_CTX_free>;
using BignumPtr = Owned<BIGNUM, BN_free>;
using SignaturePtr = Owned<ECDSA_SIG, ECDSA_SIG_free>;

constexpr std::uint64_t kCoseSign1Tag = 18;    // RFC 9052, section 2
constexpr std::int64_t kHeaderAlgorithm = 1;   // RFC 9052, section 3.1
constexpr std::int64_t kAlgorithmEs384 = -35;  // RFC 9053, section 2.1
constexpr std::size_t kSignatureBytes = 96;    // r || s of P-384
constexpr std::size_t kCertificateBytesMax = 1024;
constexpr std::size_t kCaBundleMax = 8;  // four in every document seen
constexpr std::size_t kOptionalFieldBytesMax = 1024;
constexpr std::size_t kTextBytesMax = 256;
constexpr std::size_t kPayloadEntriesMax = 32;  // nine today
constexpr auto kNotBeforeSkew = std::chrono::seconds(60);
// OpenSSL's levels: 3 wants 128 bits of strength from keys and digests. Every real certificate is
// P-384 with SHA-384.
constexpr int kSecurityLevel = 3;

absl::Status Malformed(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("attestation document: {}", what));
}
absl::Status Refused(std::string_view what) {
  return absl::PermissionDeniedError(fmt::format("attestation document: {}", what));
}

Bytes ToBytes(ByteSpan span) { return Bytes(span.begin(), span.end()); }
std::optional<Bytes> ToBytes(std::optional<ByteSpan> span) {
  if (!span) return std::nullopt;
  return ToBytes(*span);
}

// The four parts of a COSE_Sign1, as views of the document.
struct CoseSign1 {
  ByteSpan protected_header;
  ByteSpan payload;
  ByteSpan signature;
};

// The protected header must say ES384 and nothing else.
absl::Status CheckProtectedHeader(ByteSpan header) {
  CborReader reader(header);
  bool es384 = false;
  BULLA_RETURN_IF_ERROR(reader.ReadMap(1, [&]() -> absl::Status {
    BULLA_ASSIGN_OR_RETURN(std::int64_t label, reader.ReadInteger());
    BULLA_ASSIGN_OR_RETURN(std::int64_t value, reader.ReadInteger());
    es384 = label == kHeaderAlgorithm && value == kAlgorithmEs384;
    return absl::OkStatus();
  }));
  BULLA_RETURN_IF_ERROR(reader.ExpectEnd());
  return es384 ? absl::OkStatus() : Malformed("signature algorithm is not ES384");
}

absl::StatusOr<CoseSign1> ParseCoseSign1(ByteSpan document) {
  if (document.size() > kAttestationDocumentBytesMax) {
    return Malformed(fmt::format("{} bytes, at most {} are taken", document.size(),
                                 kAttestationDocumentBytesMax));
  }
  CborReader reader(document);
  BULLA_ASSIGN_OR_RETURN(CborReader::Kind kind, reader.Peek());
  if (kind == CborReader::Kind::kTag) {
    BULLA_ASSIGN_OR_RETURN(std::uint64_t tag, reader.ReadTag());
    if (tag != kCoseSign1Tag) return Malformed("tag is not that of COSE_Sign1");
  }
  CoseSign1 cose;
  int part = 0;
  BULLA_RETURN_IF_ERROR(reader.ReadArray(4, [&]() -> absl::Status {
    switch (part++) {
      case 0: {
        BULLA_ASSIGN_OR_RETURN(cose.protected_header, reader.ReadBytes(64));
        return absl::OkStatus();
      }
      case 1:
        return reader.ReadMap(0, [] { return absl::OkStatus(); });
      case 2: {
        BULLA_ASSIGN_OR_RETURN(cose.payload, reader.ReadBytes(kAttestationPayloadBytesMax));
        return absl::OkStatus();
      }
      default: {
        BULLA_ASSIGN_OR_RETURN(cose.signature, reader.ReadBytes(kSignatureBytes));
        return absl::OkStatus();
      }
    }
  }));
  if (part != 4) return Malformed("COSE_Sign1 has not four parts");
  BULLA_RETURN_IF_ERROR(reader.ExpectEnd());
  if (cose.payload.empty()) return Malformed("payload is empty");
  if (cose.signature.size() != kSignatureBytes) return Malformed("signature is not 96 bytes");
  BULLA_RETURN_IF_ERROR(CheckProtectedHeader(cose.protected_header));
  return cose;
}

absl::Status ReadPcrs(CborReader& reader, AttestationDocument& document) {
  return reader.ReadMap(kPcrCount, [&]() -> absl::Status {
    BULLA_ASSIGN_OR_RETURN(std::uint64_t index, reader.ReadUnsigned());
    if (index >= kPcrCount) return Malformed("PCR index over 31");
    Pcr pcr;
    BULLA_ASSIGN_OR_RETURN(ByteSpan value, reader.ReadBytes(pcr.size()));
    if (value.size() != pcr.size()) return Malformed("PCR is not 48 bytes");
    std::copy(value.begin(), value.end(), pcr.begin());
    if (!document.pcrs.emplace(static_cast<int>(index), pcr).second) {
      return Malformed("PCR given twice");
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<Bytes> ReadCertificate(CborReader& reader) {
  BULLA_ASSIGN_OR_RETURN(ByteSpan der, reader.ReadBytes(kCertificateBytesMax));
  if (der.empty()) return Malformed("empty certificate");
  return ToBytes(der);
}

absl::Status ReadField(std::string_view key, CborReader& reader, AttestationDocument& document) {
  if (key == "module_id") {
    BULLA_ASSIGN_OR_RETURN(std::string_view text, reader.ReadText(kTextBytesMax));
    if (text.empty()) return Malformed("module_id is empty");
    document.module_id = std::string(text);
  } else if (key == "digest") {
    BULLA_ASSIGN_OR_RETURN(std::string_view text, reader.ReadText(kTextBytesMax));
    if (text != "SHA384") return Malformed("digest is not SHA384");
  } else if (key == "timestamp") {
    BULLA_ASSIGN_OR_RETURN(std::int64_t millis, reader.ReadInteger());
    constexpr std::int64_t kYear2200 = 7258118400000;  // keeps nanoseconds from overflowing
    if (millis <= 0 || millis > kYear2200) {
      return Malformed("timestamp out of range");
    }
    document.issued_at = WallTime(std::chrono::milliseconds(millis));
  } else if (key == "pcrs") {
    return ReadPcrs(reader, document);
  } else if (key == "certificate") {
    BULLA_ASSIGN_OR_RETURN(document.certificate, ReadCertificate(reader));
  } else if (key == "cabundle") {
    return reader.ReadArray(kCaBundleMax, [&]() -> absl::Status {
      BULLA_ASSIGN_OR_RETURN(Bytes der, ReadCertificate(reader));
      document.ca_bundle.push_back(std::move(der));
      return absl::OkStatus();
    });
  } else if (key == "public_key") {
    BULLA_ASSIGN_OR_RETURN(auto bytes, reader.ReadBytesOrNull(kOptionalFieldBytesMax));
    document.public_key = ToBytes(bytes);
  } else if (key == "user_data") {
    BULLA_ASSIGN_OR_RETURN(auto bytes, reader.ReadBytesOrNull(kOptionalFieldBytesMax));
    document.user_data = ToBytes(bytes);
  } else if (key == "nonce") {
    BULLA_ASSIGN_OR_RETURN(auto bytes, reader.ReadBytesOrNull(kOptionalFieldBytesMax));
    document.nonce = ToBytes(bytes);
  } else {
    return reader.Skip();
  }
  return absl::OkStatus();
}

absl::StatusOr<AttestationDocument> ParsePayload(ByteSpan payload) {
  AttestationDocument document;
  CborReader reader(payload);
  std::set<std::string_view> seen;
  BULLA_RETURN_IF_ERROR(reader.ReadMap(kPayloadEntriesMax, [&]() -> absl::Status {
    BULLA_ASSIGN_OR_RETURN(std::string_view key, reader.ReadText(kTextBytesMax));
    if (!seen.insert(key).second) return Malformed("a field is given twice");
    return ReadField(key, reader, document);
  }));
  BULLA_RETURN_IF_ERROR(reader.ExpectEnd());
  for (std::string_view required :
       {"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"}) {
    if (!seen.contains(required)) return Malformed(fmt::format("{} is missing", required));
  }
  if (document.pcrs.empty()) return Malformed("no PCR");
  if (document.ca_bundle.empty()) return Malformed("cabundle is empty");
  return document;
}

absl::StatusOr<X509Ptr> ParseCertificate(ByteSpan der) {
  const unsigned char* at = der.data();
  X509Ptr certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (!certificate) return Malformed("certificate does not parse");
  if (at != der.data() + der.size()) return Malformed("bytes after a certificate");
  return certificate;
}

ByteArray<32> Sha256(ByteSpan bytes) {
  ByteArray<32> digest;
  SHA256(bytes.data(), bytes.size(), digest.data());
  return digest;
}

// The instant at which to judge the chain: `now`, or the leaf's first instant where that is at most
// the allowed skew ahead. (Its issuers are older than the leaf.)
absl::StatusOr<std::time_t> TimeToJudge(X509* leaf, WallTime now) {
  std::time_t at = std::chrono::system_clock::to_time_t(now);
  std::time_t with_skew = std::chrono::system_clock::to_time_t(now + kNotBeforeSkew);
  const ASN1_TIME* not_before = X509_get0_notBefore(leaf);
  if (X509_cmp_time(not_before, &at) <= 0) return at;        // begun (or unreadable: refused later)
  if (X509_cmp_time(not_before, &with_skew) > 0) return at;  // too far ahead
  std::tm begin{};
  if (ASN1_TIME_to_tm(not_before, &begin) != 1) return Malformed("notBefore does not parse");
  return ::timegm(&begin);
}

// A leaf may sign documents, and no certificates.
absl::Status CheckLeaf(X509* leaf) {
  if (X509_check_ca(leaf) != 0) return Refused("leaf certificate is a CA");
  if ((X509_get_extension_flags(leaf) & EXFLAG_KUSAGE) != 0 &&
      (X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE) == 0) {
    return Refused("leaf certificate may not sign");
  }
  EVP_PKEY* key = X509_get0_pubkey(leaf);
  char group[32] = {};
  std::size_t group_length = 0;
  if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
      EVP_PKEY_get_group_name(key, group, sizeof group, &group_length) != 1 ||
      std::string_view(group) != "secp384r1") {
    return Refused("leaf key is not on P-384");
  }
  return absl::OkStatus();
}

absl::Status CheckChain(X509* leaf, const AttestationDocument& document, const TrustAnchor& root,
                        WallTime now) {
  if (Sha256(document.ca_bundle.front()) != root.root_sha256) {
    return Refused("the chain begins in another root");
  }
  StorePtr store(X509_STORE_new());
  StackPtr untrusted(sk_X509_new_null());
  std::vector<X509Ptr> owned;
  if (!store || !untrusted) return absl::ResourceExhaustedError("out of memory");
  for (const Bytes& der : document.ca_bundle) {
    BULLA_ASSIGN_OR_RETURN(X509Ptr certificate, ParseCertificate(der));
    bool is_root = owned.empty();
    bool added = is_root ? X509_STORE_add_cert(store.get(), certificate.get()) == 1
                         : sk_X509_push(untrusted.get(), certificate.get()) > 0;
    if (!added) return absl::ResourceExhaustedError("out of memory");
    owned.push_back(std::move(certificate));
  }
  StoreContextPtr context(X509_STORE_CTX_new());
  if (!context || X509_STORE_CTX_init(context.get(), store.get(), leaf, untrusted.get()) != 1) {
    return absl::ResourceExhaustedError("out of memory");
  }
  // No purpose: the leaf has no extended key usage. No revocation lists: the format has none.
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context.get());
  BULLA_ASSIGN_OR_RETURN(std::time_t at, TimeToJudge(leaf, now));
  X509_VERIFY_PARAM_set_time(parameters, at);
  X509_VERIFY_PARAM_set_auth_level(parameters, kSecurityLevel);
  X509_VERIFY_PARAM_set_depth(parameters, static_cast<int>(kCaBundleMax));
  if (X509_verify_cert(context.get()) != 1) {
    return Refused(X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
  }
  return CheckLeaf(leaf);
}

// COSE writes r || s; OpenSSL wants the DER of the pair.
absl::StatusOr<Bytes> SignatureToDer(ByteSpan signature) {
  constexpr int kHalf = static_cast<int>(kSignatureBytes / 2);
  BignumPtr r(BN_bin2bn(signature.data(), kHalf, nullptr));
  BignumPtr s(BN_bin2bn(signature.data() + kHalf, kHalf, nullptr));
  SignaturePtr pair(ECDSA_SIG_new());
  if (!r || !s || !pair || ECDSA_SIG_set0(pair.get(), r.get(), s.get()) != 1) {
    return absl::ResourceExhaustedError("out of memory");
  }
  static_cast<void>(r.release());  // the pair owns them now
  static_cast<void>(s.release());
  unsigned char* der = nullptr;
  int length = i2d_ECDSA_SIG(pair.get(), &der);
  if (length <= 0) return absl::ResourceExhaustedError("out of memory");
  Bytes out(der, der + length);
  OPENSSL_free(der);
  return out;
}

absl::Status CheckSignature(X509* leaf, const CoseSign1& cose) {
  // Sig_structure of RFC 9052, section 4.4, over the payload as it was received.
  CborWriter to_be_signed;
  to_be_signed.Array(4)
      .Text("Signature1")
      .ByteString(cose.protected_header)
      .ByteString({})
      .ByteString(cose.payload);
  BULLA_ASSIGN_OR_RETURN(Bytes signature, SignatureToDer(cose.signature));
  MdContextPtr context(EVP_MD_CTX_new());
  if (!context || EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha384(), nullptr,
                                       X509_get0_pubkey(leaf)) != 1) {
    return Refused("leaf key cannot verify");
  }
  const Bytes& bytes = to_be_signed.bytes();
  if (EVP_DigestVerify(context.get(), signature.data(), signature.size(), bytes.data(),
                       bytes.size()) != 1) {
    return Refused("signature is wrong");
  }
  return absl::OkStatus();
}

}  // namespace

bool AttestationDocument::IsDebug() const {
  for (int index : {0, 1, 2}) {
    auto found = pcrs.find(index);
    if (found != pcrs.end() && found->second != Pcr{}) return false;
  }
  return true;
}

TrustAnchor TrustAnchor::AwsNitro() { return {kAwsNitroRootSha256}; }

absl::StatusOr<TrustAnchor> TrustAnchor::FromPem(std::string_view pem) {
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  X509Ptr certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  if (!certificate) return absl::InvalidArgumentError("not a PEM certificate");
  TrustAnchor anchor;
  unsigned int length = 0;
  if (X509_digest(certificate.get(), EVP_sha256(), anchor.root_sha256.data(), &length) != 1) {
    return absl::InternalError("SHA-256 is not available");
  }
  return anchor;
}

absl::StatusOr<AttestationDocument> ParseAttestationDocument(ByteSpan document) {
  BULLA_ASSIGN_OR_RETURN(CoseSign1 cose, ParseCoseSign1(document));
  return ParsePayload(cose.payload);
}

absl::StatusOr<AttestationDocument> VerifyAttestationDocument(ByteSpan document,
                                                              const TrustAnchor& root,
                                                              WallTime now) {
  BULLA_ASSIGN_OR_RETURN(CoseSign1 cose, ParseCoseSign1(document));
  BULLA_ASSIGN_OR_RETURN(AttestationDocument parsed, ParsePayload(cose.payload));
  BULLA_ASSIGN_OR_RETURN(X509Ptr leaf, ParseCertificate(parsed.certificate));
  BULLA_RETURN_IF_ERROR(CheckChain(leaf.get(), parsed, root, now));
  BULLA_RETURN_IF_ERROR(CheckSignature(leaf.get(), cose));
  return parsed;
}

absl::Status MeasurementPolicy::Check(const AttestationDocument& document) const {
  if (document.IsDebug() && !allow_debug) {
    return absl::PermissionDeniedError("the enclave runs in debug mode (PCR0-2 are zero)");
  }
  for (const auto& [index, value] : expected) {
    auto found = document.pcrs.find(index);
    if (found == document.pcrs.end() || found->second != value) {
      return absl::PermissionDeniedError(fmt::format(
          "PCR{} is {}, wanted {}", index,
          found == document.pcrs.end() ? "missing" : HexEncode(found->second), HexEncode(value)));
    }
  }
  return absl::OkStatus();
}

}  // namespace bulla
