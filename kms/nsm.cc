#include "kms/nsm.h"

#include <algorithm>
#include <fmt/format.h>

#include "attest/cbor.h"
#include "base/check.h"

namespace bulla {
namespace {

constexpr std::size_t kTextBytesMax = 64;

absl::Status Unexpected(std::string_view what) {
  return absl::InternalError(fmt::format("NSM reply: {}", what));
}

// A reply is a map of one entry: the operation's name and its members, or "Error" and a text.
absl::Status ReadReply(ByteSpan reply, std::string_view operation,
                       const std::function<absl::Status(std::string_view, CborReader&)>& member) {
  CborReader reader(reply);
  bool seen = false;
  BULLA_RETURN_IF_ERROR(reader.ReadMap(1, [&]() -> absl::Status {
    BULLA_ASSIGN_OR_RETURN(std::string_view name, reader.ReadText(kTextBytesMax));
    if (name == "Error") {
      BULLA_ASSIGN_OR_RETURN(std::string_view error, reader.ReadText(kTextBytesMax));
      return absl::FailedPreconditionError(fmt::format("NSM refuses {}: {}", operation, error));
    }
    if (name != operation) return Unexpected("answers another operation");
    seen = true;
    return reader.ReadMap(16, [&]() -> absl::Status {
      BULLA_ASSIGN_OR_RETURN(std::string_view key, reader.ReadText(kTextBytesMax));
      return member(key, reader);
    });
  }));
  BULLA_RETURN_IF_ERROR(reader.ExpectEnd());
  return seen ? absl::OkStatus() : Unexpected("is empty");
}

// The one byte string that a reply to `operation` carries under `field`.
absl::StatusOr<Bytes> ReadByteReply(ByteSpan reply, std::string_view operation,
                                    std::string_view field) {
  Bytes out;
  BULLA_RETURN_IF_ERROR(
      ReadReply(reply, operation, [&](std::string_view key, CborReader& reader) -> absl::Status {
        if (key != field) return reader.Skip();
        BULLA_ASSIGN_OR_RETURN(ByteSpan bytes, reader.ReadBytes(kNsmResponseBytesMax));
        out.assign(bytes.begin(), bytes.end());
        return absl::OkStatus();
      }));
  if (out.empty()) return Unexpected(fmt::format("has no {}", field));
  return out;
}

}  // namespace

Bytes EncodeAttestRequest(const NsmAttestRequest& request) {
  CborWriter writer;
  writer.Map(1).Text("Attestation").Map(3);
  writer.Text("user_data").ByteStringOrNull(request.user_data);
  writer.Text("nonce").ByteStringOrNull(request.nonce);
  writer.Text("public_key").ByteStringOrNull(request.public_key);
  return writer.bytes();
}

Bytes EncodeGetRandomRequest() { return CborWriter().Text("GetRandom").bytes(); }

Bytes EncodeDescribePcrRequest(int index) {
  CborWriter writer;
  writer.Map(1)
      .Text("DescribePCR")
      .Map(1)
      .Text("index")
      .Unsigned(static_cast<std::uint64_t>(index));
  return writer.bytes();
}

absl::StatusOr<Bytes> DecodeAttestReply(ByteSpan reply) {
  return ReadByteReply(reply, "Attestation", "document");
}

absl::StatusOr<Bytes> DecodeGetRandomReply(ByteSpan reply) {
  BULLA_ASSIGN_OR_RETURN(Bytes random, ReadByteReply(reply, "GetRandom", "random"));
  // Every module known gives 256; less is not worth its name.
  if (random.size() != kNsmRandomBytes) return Unexpected("random is not 256 bytes");
  return random;
}

absl::StatusOr<PcrState> DecodeDescribePcrReply(ByteSpan reply) {
  PcrState state;
  bool has_lock = false;
  bool has_data = false;
  auto member = [&](std::string_view key, CborReader& reader) -> absl::Status {
    if (key == "lock") {
      BULLA_ASSIGN_OR_RETURN(state.locked, reader.ReadBool());
      has_lock = true;
      return absl::OkStatus();
    }
    if (key != "data") return reader.Skip();
    BULLA_ASSIGN_OR_RETURN(ByteSpan data, reader.ReadBytes(state.value.size()));
    if (data.size() != state.value.size()) return Unexpected("PCR is not 48 bytes");
    std::copy(data.begin(), data.end(), state.value.begin());
    has_data = true;
    return absl::OkStatus();
  };
  BULLA_RETURN_IF_ERROR(ReadReply(reply, "DescribePCR", member));
  if (!has_lock || !has_data) return Unexpected("lacks lock or data");
  return state;
}

absl::StatusOr<Bytes> Nsm::Attest(std::optional<Bytes> user_data, std::optional<Bytes> nonce,
                                  std::optional<Bytes> public_key) {
  Bytes request =
      EncodeAttestRequest({std::move(user_data), std::move(nonce), std::move(public_key)});
  if (request.size() > kNsmRequestBytesMax) {
    return absl::InvalidArgumentError(fmt::format("NSM request is {} bytes, at most {} are taken",
                                                  request.size(), kNsmRequestBytesMax));
  }
  BULLA_ASSIGN_OR_RETURN(Bytes reply, Exchange(request));
  return DecodeAttestReply(reply);
}

absl::StatusOr<Bytes> Nsm::GetRandom() {
  BULLA_ASSIGN_OR_RETURN(Bytes reply, Exchange(EncodeGetRandomRequest()));
  return DecodeGetRandomReply(reply);
}

absl::StatusOr<PcrState> Nsm::DescribePcr(int index) {
  BULLA_CHECK(index >= 0 && index < kPcrCount, "there are 32 PCRs");
  BULLA_ASSIGN_OR_RETURN(Bytes reply, Exchange(EncodeDescribePcrRequest(index)));
  return DecodeDescribePcrReply(reply);
}

}  // namespace bulla
