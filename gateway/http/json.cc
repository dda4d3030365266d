#include "gateway/http/json.h"

#include <algorithm>
#include <fmt/format.h>

#include <boost/json/basic_parser_impl.hpp>

#include "base/limits.h"
#include "gateway/frontend/call_rules.h"
#include "gateway/frontend/der.h"
#include "gateway/frontend/http_text.h"
#include "gateway/frontend/json_events.h"

namespace bulla {
namespace {

namespace json = boost::json;

enum class Shape { kCreate, kSign, kBatch };

enum Member : unsigned { kUnknown, kKeyId, kDigest, kDer, kNoWait, kItems };

// A string as its parts come in: the head is kept, the rest counted.
class Text {
 public:
  void Append(std::string_view part) {
    std::size_t kept = std::min(part.size(), sizeof(head_) - head_size_);
    std::copy_n(part.data(), kept, head_ + head_size_);
    head_size_ += kept;
    length_ += part.size();
    part.remove_prefix(kept);
    tail_is_hex_ = tail_is_hex_ && std::all_of(part.begin(), part.end(), IsHexDigit);
  }
  void Clear() {
    head_size_ = length_ = 0;
    tail_is_hex_ = true;
  }
  std::string_view head() const { return {head_, head_size_}; }
  Received received() const { return {head(), length_, tail_is_hex_}; }

 private:
  char head_[96];
  std::size_t head_size_ = 0;
  std::size_t length_ = 0;
  bool tail_is_hex_ = true;
};

std::string_view MembersOf(Shape shape, bool in_item) {
  if (shape == Shape::kCreate) return "no members";
  if (shape == Shape::kBatch && !in_item) return "items";
  return "keyId, digest and, optionally, der and noWait";
}

// Receives the parser's events and checks them against one shape. Levels of the document: 1 is the
// body's object; in a batch 2 is the array of items and 3 an item. Everything inside a value of the
// wrong type is skipped, counted by `skipped_levels_`.
class RequestHandler : public JsonEvents {
 public:
  RequestHandler(Shape shape, std::vector<BatchItem>* items) : shape_(shape), items_(items) {}

  const Error& error() const { return error_; }
  const SignRequest& request() const { return item_.request; }

  bool on_object_begin(json::error_code& ec) {
    if (skipped_levels_ > 0) return Skip();
    if (level_ == 0) {
      level_ = 1;
      return true;
    }
    if (level_ == 2) {
      level_ = 3;
      return StartItem(ec);
    }
    return WrongType("an object", ec) && Skip();
  }

  bool on_object_end(std::size_t, json::error_code&) {
    if (skipped_levels_ > 0) return Unskip();
    if (level_ == 3) {
      FinishItem();
      level_ = 2;
    } else {
      FinishBody();
    }
    return true;
  }

  bool on_array_begin(json::error_code& ec) {
    if (skipped_levels_ > 0) return Skip();
    if (level_ == 1 && member_ == kItems) {
      level_ = 2;
      return true;
    }
    return WrongType("an array", ec) && Skip();
  }

  bool on_array_end(std::size_t, json::error_code&) {
    if (skipped_levels_ > 0) return Unskip();
    level_ = 1;
    return true;
  }

  bool on_key_part(json::string_view part, std::size_t, json::error_code&) {
    if (skipped_levels_ == 0) text_.Append({part.data(), part.size()});
    return true;
  }
  bool on_key(json::string_view part, std::size_t, json::error_code&) {
    if (skipped_levels_ > 0) return true;
    text_.Append({part.data(), part.size()});
    Name(text_.head());
    text_.Clear();
    return true;
  }

  bool on_string_part(json::string_view part, std::size_t, json::error_code&) {
    if (skipped_levels_ == 0) text_.Append({part.data(), part.size()});
    return true;
  }
  bool on_string(json::string_view part, std::size_t, json::error_code& ec) {
    if (skipped_levels_ > 0) return true;
    text_.Append({part.data(), part.size()});
    bool go_on = true;
    if (InMembers() && member_ == kKeyId) {
      Note(ParseKeyId(text_.head(), item_.request.key_id));
    } else if (InMembers() && member_ == kDigest) {
      Note(ParseDigestHex(text_.received(), item_.request.digest));
    } else {
      go_on = WrongType("a string", ec);
    }
    text_.Clear();
    return go_on;
  }

  bool on_bool(bool value, json::error_code& ec) {
    if (skipped_levels_ > 0) return true;
    if (!InMembers() || (member_ != kDer && member_ != kNoWait)) {
      return WrongType(value ? "true" : "false", ec);
    }
    (member_ == kDer ? item_.request.der : item_.request.no_wait) = value;
    return true;
  }
  bool on_null(json::error_code& ec) { return WrongType("null", ec); }
  bool on_int64(std::int64_t, json::string_view, json::error_code& ec) {
    return WrongType("a number", ec);
  }
  bool on_uint64(std::uint64_t, json::string_view, json::error_code& ec) {
    return WrongType("a number", ec);
  }
  bool on_double(double, json::string_view, json::error_code& ec) {
    return WrongType("a number", ec);
  }

 private:
  bool InMembers() const { return level_ == 1 || level_ == 3; }
  bool Skip() {
    ++skipped_levels_;
    return true;
  }
  bool Unskip() {
    --skipped_levels_;
    return true;
  }

  // The first error of an item, or of the body, stands.
  void Note(Error error) {
    Error& noted = level_ >= 2 ? item_.error : error_;
    if (noted.ok()) noted = std::move(error);
  }

  void Name(std::string_view name) {
    bool in_item = level_ == 3;
    bool sign_members = shape_ == Shape::kSign || in_item;
    member_ = kUnknown;
    if (sign_members && name == "keyId") member_ = kKeyId;
    if (sign_members && name == "digest") member_ = kDigest;
    if (sign_members && name == "der") member_ = kDer;
    if (sign_members && name == "noWait") member_ = kNoWait;
    if (shape_ == Shape::kBatch && !in_item && name == "items") member_ = kItems;
    unsigned& seen = in_item ? item_seen_ : seen_;
    if (IsTenantName(name)) {
      (in_item ? item_.error : error_) = TenantRefused(name);  // over any other error
    } else if (member_ == kUnknown) {
      Note(InvalidArgument(fmt::format("{}: unknown; this object has {}", Quoted(name),
                                       MembersOf(shape_, in_item))));
    } else if ((seen & 1u << member_) != 0) {
      Note(InvalidArgument(fmt::format("{}: given twice, want it once", name)));
    }
    seen |= 1u << member_;
  }

  bool WrongType(std::string_view got, json::error_code& ec) {
    if (skipped_levels_ > 0) return true;
    if (level_ == 0) {
      Note(InvalidArgument(fmt::format("body: got {}, want a JSON object", got)));
    } else if (level_ == 2) {
      if (!StartItem(ec)) return false;
      Note(InvalidArgument(fmt::format("item: got {}, want an object", got)));
      FinishItem();
    } else if (member_ == kKeyId) {
      Note(InvalidArgument(fmt::format("keyId: got {}, want {}", got, kKeyIdWanted)));
    } else if (member_ == kDigest) {
      Note(InvalidArgument(fmt::format("digest: got {}, want {}", got, kDigestWanted)));
    } else if (member_ == kDer) {
      Note(InvalidArgument(fmt::format("der: got {}, want true or false", got)));
    } else if (member_ == kNoWait) {
      Note(InvalidArgument(fmt::format("noWait: got {}, want true or false", got)));
    } else if (member_ == kItems) {
      Note(InvalidArgument(fmt::format("items: got {}, want an array", got)));
    }
    return true;  // an unknown member was refused by its name
  }

  bool StartItem(json::error_code& ec) {
    item_ = BatchItem();
    item_seen_ = 0;
    if (items_->size() < limits::kBatchItemsMax) return true;
    error_ = BatchTooLong();
    ec = json::error::array_too_large;
    return false;
  }
  void FinishItem() {
    if (level_ == 3) RequireSignMembers(item_seen_);
    items_->push_back(std::move(item_));
  }
  void FinishBody() {
    if (shape_ == Shape::kSign) RequireSignMembers(seen_);
    if (shape_ != Shape::kBatch) return;
    if ((seen_ & 1u << kItems) == 0) {
      Note(InvalidArgument("items: missing, want an array of sign requests"));
    } else if (items_->empty()) {
      Note(BatchEmpty());
    }
  }
  void RequireSignMembers(unsigned seen) {
    if ((seen & 1u << kKeyId) == 0) {
      Note(InvalidArgument(fmt::format("keyId: missing, want {}", kKeyIdWanted)));
    }
    if ((seen & 1u << kDigest) == 0) {
      Note(InvalidArgument(fmt::format("digest: missing, want {}", kDigestWanted)));
    }
  }

  const Shape shape_;
  std::vector<BatchItem>* const items_;  // batch only
  Error error_;                          // of the body
  BatchItem item_;     // the item being read; its request serves a plain sign as well
  unsigned seen_ = 0;  // members of the body so far, one bit each
  unsigned item_seen_ = 0;
  Member member_ = kUnknown;
  int level_ = 0;
  std::size_t skipped_levels_ = 0;
  Text text_;
};

Error MalformedJson(const json::error_code& ec, std::size_t offset) {
  if (ec == json::error::too_deep) {
    return InvalidArgument(
        fmt::format("body: nested deeper than {} levels", limits::kJsonDepthMax));
  }
  if (ec == json::error::incomplete) {
    return InvalidArgument(fmt::format("body: JSON ends too early, after {} bytes", offset));
  }
  return InvalidArgument(fmt::format("body: not valid JSON at byte {}: {}", offset, ec.message()));
}

Error Parse(std::string_view body, json::basic_parser<RequestHandler>& parser) {
  if (body.empty()) return InvalidArgument("body: empty, want a JSON object");
  json::error_code ec;
  std::size_t used = parser.write_some(false, body.data(), body.size(), ec);
  if (ec == json::error::array_too_large) return parser.handler().error();
  if (!ec && used < body.size()) ec = json::error::extra_data;
  if (ec) return MalformedJson(ec, used);
  return parser.handler().error();
}

json::parse_options Options() {
  json::parse_options options;
  options.max_depth = limits::kJsonDepthMax;
  return options;
}

}  // namespace

Error ParseSign(std::string_view body, SignRequest& out) {
  json::basic_parser<RequestHandler> parser(Options(), Shape::kSign, nullptr);
  Error error = Parse(body, parser);
  if (error.ok()) out = parser.handler().request();
  return error;
}

Error ParseSignBatch(std::string_view body, std::vector<BatchItem>& out) {
  out.clear();
  json::basic_parser<RequestHandler> parser(Options(), Shape::kBatch, &out);
  return Parse(body, parser);
}

Error ParseCreate(std::string_view body) {
  if (body.empty()) return {};
  json::basic_parser<RequestHandler> parser(Options(), Shape::kCreate, nullptr);
  return Parse(body, parser);
}

namespace {

void AppendPublicParts(const KeyRow& key, std::string& out) {
  out += R"({"keyId":")";
  out += key.key_id.ToString();
  out += R"(","publicKey":"0x)";
  AppendHex(key.public_key, out);
  out += R"(","address":)";
  AppendJsonString(key.address, out);
}

}  // namespace

void AppendSignature(const RecoverableSignature& signature, bool der, std::string& out) {
  out += R"({"signature":"0x)";
  AppendHex(signature.rs, out);
  out += R"(","recoveryId":)";
  out += static_cast<char>('0' + (signature.recovery_id & 3));
  if (der) {
    out += R"(,"der":"0x)";
    AppendHex(EncodeDerSignature(signature.rs), out);
    out += '"';
  }
  out += '}';
}

void AppendCreated(const KeyRow& key, std::string& out) {
  AppendPublicParts(key, out);
  out += '}';
}

void AppendKey(const KeyRow& key, std::string& out) {
  AppendPublicParts(key, out);
  out += R"(,"createdAt":")";
  out += FormatTime(key.created_at);
  out += R"(","status":")";
  out += KeyStatusName(key.enabled);
  out += R"("})";
}

void AppendError(const Error& error, std::string_view request_id, std::uint32_t retry_after_ms,
                 std::string& out) {
  out += R"({"error":{"code":")";
  out += ErrorRowOf(error.code).name;
  out += R"(","message":)";
  AppendJsonString(error.Message(), out);
  out += R"(,"requestId":)";
  AppendJsonString(request_id, out);
  if (retry_after_ms > 0) out += fmt::format(R"(,"retryAfterMs":{})", retry_after_ms);
  out += "}}";
}

void AppendJsonString(std::string_view text, std::string& out) {
  out += '"';
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c >= ' ' && c <= '~') {
      out += c;
    } else if (c >= 0 && c < ' ') {
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      out += '?';
    }
  }
  out += '"';
}

}  // namespace bulla
