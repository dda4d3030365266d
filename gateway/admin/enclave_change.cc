#include "gateway/admin/enclave_change.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <utility>

#include <boost/json/basic_parser_impl.hpp>

#include "gateway/config/gateway_config.h"
#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/json_events.h"

namespace bulla {
namespace {

namespace json = boost::json;

constexpr std::size_t kDepthMax = 2;  // what is in the object is refused by its name
constexpr std::string_view kAddressWanted =
    "an enclave's address: vsock:CID:PORT, unix:/PATH or tcp:HOST:PORT";

std::string WeightWanted() {
  return fmt::format("a whole number of percent from 0 to {}", HashRing::kWeightMax);
}

// Receives the parser's events: one flat object with members `address` and `weight`. The first
// breach ends the reading. A document would not do: it forgets which members were given twice.
class MemberHandler : public JsonEvents {
 public:
  explicit MemberHandler(bool has_weight) : has_weight_(has_weight) {}

  const std::string& error() const { return error_; }
  const std::optional<std::string>& address() const { return address_; }
  const std::optional<std::uint32_t>& weight() const { return weight_; }

  bool on_object_begin(json::error_code& ec) {
    if (std::exchange(in_object_, true)) return Unwanted("an object", ec);
    return true;
  }
  bool on_object_end(std::size_t, json::error_code&) { return true; }
  bool on_array_begin(json::error_code& ec) { return Unwanted("an array", ec); }
  bool on_array_end(std::size_t, json::error_code&) { return true; }

  bool on_key_part(json::string_view part, std::size_t, json::error_code&) { return Append(part); }
  bool on_key(json::string_view part, std::size_t, json::error_code& ec) {
    Append(part);
    member_ = std::exchange(text_, "");
    const bool known = member_ == "address" || (has_weight_ && member_ == "weight");
    if (!known) {
      return Refuse(fmt::format("{}: unknown; this object has address{}", Quoted(member_),
                                has_weight_ ? " and weight" : " only"),
                    ec);
    }
    const bool again = member_ == "address" ? address_.has_value() : weight_.has_value();
    return again ? Refuse(fmt::format("{}: given twice, want it once", member_), ec) : true;
  }

  bool on_string_part(json::string_view part, std::size_t, json::error_code&) {
    return Append(part);
  }
  bool on_string(json::string_view part, std::size_t, json::error_code& ec) {
    Append(part);
    std::string value = std::exchange(text_, "");
    if (member_ != "address") return Unwanted(fmt::format("the text {}", Quoted(value)), ec);
    address_ = std::move(value);
    return true;
  }

  bool on_bool(bool value, json::error_code& ec) { return Unwanted(value ? "true" : "false", ec); }
  bool on_null(json::error_code& ec) { return Unwanted("null", ec); }
  bool on_int64(std::int64_t value, json::string_view, json::error_code& ec) {
    if (member_ != "weight" || value < 0 || value > std::int64_t{HashRing::kWeightMax}) {
      return Unwanted(fmt::format("{}", value), ec);
    }
    weight_ = static_cast<std::uint32_t>(value);
    return true;
  }
  bool on_uint64(std::uint64_t value, json::string_view, json::error_code& ec) {
    return Unwanted(fmt::format("{}", value), ec);  // more than an int64: too much for a weight
  }
  bool on_double(double value, json::string_view, json::error_code& ec) {
    return Unwanted(fmt::format("{}", value), ec);
  }

 private:
  bool Append(json::string_view part) {
    text_.append(part.data(), part.size());
    return true;
  }
  bool Refuse(std::string error, json::error_code& ec) {
    error_ = std::move(error);
    ec = json::error::syntax;  // any: error_ says what
    return false;
  }
  bool Unwanted(std::string_view got, json::error_code& ec) {
    if (!in_object_ || member_.empty()) {
      return Refuse(fmt::format("body: got {}, want a JSON object", got), ec);
    }
    return Refuse(fmt::format("{}: got {}, want {}", member_, got,
                              member_ == "weight" ? WeightWanted() : std::string(kAddressWanted)),
                  ec);
  }

  const bool has_weight_;
  bool in_object_ = false;
  std::string member_;
  std::string text_;
  std::string error_;
  std::optional<std::string> address_;
  std::optional<std::uint32_t> weight_;
};

absl::Status ReadMembers(std::string_view body, json::basic_parser<MemberHandler>& parser) {
  if (body.empty()) return absl::InvalidArgumentError("body: empty, want a JSON object");
  json::error_code ec;
  const std::size_t used = parser.write_some(false, body.data(), body.size(), ec);
  if (!parser.handler().error().empty()) {
    return absl::InvalidArgumentError(parser.handler().error());
  }
  if (!ec && used < body.size()) ec = json::error::extra_data;
  if (!ec) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("body: not valid JSON at byte {}: {}", used, ec.message()));
}

// " weight=50", which belongs in the file, would be taken for part of a socket's path.
bool IsOneWord(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace

absl::StatusOr<EnclaveChange> ParseEnclaveChange(EnclaveChange::Kind kind, std::string_view body) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  json::basic_parser<MemberHandler> parser(options, kind != EnclaveChange::Kind::kRemove);
  BULLA_RETURN_IF_ERROR(ReadMembers(body, parser));
  const MemberHandler& read = parser.handler();
  if (!read.address()) {
    return absl::InvalidArgumentError(fmt::format("address: missing, want {}", kAddressWanted));
  }
  if (!IsOneWord(*read.address())) {
    return absl::InvalidArgumentError(
        fmt::format("address: got {}, want {}, in ASCII without spaces", Quoted(*read.address()),
                    kAddressWanted));
  }
  if (kind == EnclaveChange::Kind::kSetWeight && !read.weight()) {
    return absl::InvalidArgumentError(fmt::format("weight: missing, want {}", WeightWanted()));
  }
  EnclaveChange change{.kind = kind};
  BULLA_ASSIGN_OR_RETURN(change.address, Address::Parse(*read.address()));
  change.weight = read.weight().value_or(HashRing::kFullWeight);
  return change;
}

absl::Status ApplyEnclaveChange(const EnclaveChange& change, std::string_view platform,
                                Fleet& fleet) {
  switch (change.kind) {
    case EnclaveChange::Kind::kAdd:
      BULLA_RETURN_IF_ERROR(CheckEnclaveAddress(platform, change.address));
      return fleet.Add({.address = change.address, .weight = change.weight});
    case EnclaveChange::Kind::kSetWeight:
      return fleet.SetWeight(change.address, change.weight);
    case EnclaveChange::Kind::kRemove:
      return fleet.Remove(change.address);
  }
  return absl::InternalError("a kind of change that there is not");
}

}  // namespace bulla
