#include "attest/cbor.h"

#include <limits>

#include <cbor.h>

#include "base/check.h"

namespace bulla {
namespace {

// The deepest thing we read on purpose has three levels; a skipped unknown value may have a few.
constexpr int kDepthMax = 8;
// Skipping an unknown collection costs time only, and never more than its bytes: a bound on the
// count keeps a definite head from promising more.
constexpr std::size_t kSkippedItemsMax = 4096;

absl::Status Malformed(const char* what) { return absl::InvalidArgumentError(what); }

}  // namespace

// One decoded head; for strings with their content, for collections without.
struct CborReader::Item {
  Kind kind = Kind::kOther;
  std::uint64_t value = 0;  // integer (for kNegative: -1 - value), tag, bool, or count
  bool indefinite = false;  // collections
  bool is_break = false;
  ByteSpan content;  // strings
  std::size_t consumed = 0;
};

absl::StatusOr<CborReader::Item> CborReader::Decode() const {
  static const cbor_callbacks kCallbacks = [] {
    cbor_callbacks c = cbor_empty_callbacks;
    auto item = [](void* context) -> Item& { return *static_cast<Item*>(context); };
    static auto set = [item](void* context, Kind kind, std::uint64_t value) {
      item(context).kind = kind;
      item(context).value = value;
    };
    c.uint8 = [](void* i, std::uint8_t v) { set(i, Kind::kUnsigned, v); };
    c.uint16 = [](void* i, std::uint16_t v) { set(i, Kind::kUnsigned, v); };
    c.uint32 = [](void* i, std::uint32_t v) { set(i, Kind::kUnsigned, v); };
    c.uint64 = [](void* i, std::uint64_t v) { set(i, Kind::kUnsigned, v); };
    c.negint8 = [](void* i, std::uint8_t v) { set(i, Kind::kNegative, v); };
    c.negint16 = [](void* i, std::uint16_t v) { set(i, Kind::kNegative, v); };
    c.negint32 = [](void* i, std::uint32_t v) { set(i, Kind::kNegative, v); };
    c.negint64 = [](void* i, std::uint64_t v) { set(i, Kind::kNegative, v); };
    c.byte_string = [](void* i, cbor_data data, std::size_t size) {
      set(i, Kind::kBytes, size);
      static_cast<Item*>(i)->content = ByteSpan(data, size);
    };
    c.string = [](void* i, cbor_data data, std::size_t size) {
      set(i, Kind::kText, size);
      static_cast<Item*>(i)->content = ByteSpan(data, size);
    };
    c.array_start = [](void* i, std::size_t count) { set(i, Kind::kArray, count); };
    c.indef_array_start = [](void* i) {
      set(i, Kind::kArray, 0);
      static_cast<Item*>(i)->indefinite = true;
    };
    c.map_start = [](void* i, std::size_t count) { set(i, Kind::kMap, count); };
    c.indef_map_start = [](void* i) {
      set(i, Kind::kMap, 0);
      static_cast<Item*>(i)->indefinite = true;
    };
    c.tag = [](void* i, std::uint64_t v) { set(i, Kind::kTag, v); };
    c.boolean = [](void* i, bool v) { set(i, Kind::kBool, v); };
    c.null = [](void* i) { set(i, Kind::kNull, 0); };
    c.indef_break = [](void* i) { static_cast<Item*>(i)->is_break = true; };
    // Strings in chunks: nobody sends them, so they are not taken, not even to be skipped.
    auto chunked = [](void* i) { set(i, Kind::kOther, 1); };
    c.byte_string_start = chunked;
    c.string_start = chunked;
    return c;
  }();
  Item item;
  // libcbor 0.8 refuses tags 6 to 20, COSE_Sign1's 18 among them, so short tags are read here.
  if (!rest_.empty() && rest_[0] >= 0xc0 && rest_[0] <= 0xd7) {
    item.kind = Kind::kTag;
    item.value = rest_[0] & 0x1fu;
    item.consumed = 1;
    return item;
  }
  cbor_decoder_result result = cbor_stream_decode(rest_.data(), rest_.size(), &kCallbacks, &item);
  if (result.status != CBOR_DECODER_FINISHED || result.read == 0) {
    return Malformed("CBOR: truncated or malformed");
  }
  if (item.kind == Kind::kOther && item.value == 1) {
    return Malformed("CBOR: string in chunks");
  }
  item.consumed = result.read;
  return item;
}

absl::StatusOr<CborReader::Item> CborReader::Next() {
  BULLA_ASSIGN_OR_RETURN(Item item, Decode());
  if (item.is_break) return Malformed("CBOR: break outside an indefinite collection");
  rest_ = rest_.subspan(item.consumed);
  return item;
}

absl::StatusOr<CborReader::Item> CborReader::Next(Kind wanted) {
  BULLA_ASSIGN_OR_RETURN(Item item, Next());
  if (item.kind != wanted) return Malformed("CBOR: a value of another type than the format has");
  return item;
}

absl::StatusOr<CborReader::Kind> CborReader::Peek() const {
  BULLA_ASSIGN_OR_RETURN(Item item, Decode());
  return item.kind;
}

bool CborReader::AtBreak() const { return !rest_.empty() && rest_[0] == 0xff; }

absl::StatusOr<std::uint64_t> CborReader::ReadUnsigned() {
  BULLA_ASSIGN_OR_RETURN(Item item, Next(Kind::kUnsigned));
  return item.value;
}

absl::StatusOr<std::int64_t> CborReader::ReadInteger() {
  BULLA_ASSIGN_OR_RETURN(Item item, Next());
  if (item.kind != Kind::kUnsigned && item.kind != Kind::kNegative) {
    return Malformed("CBOR: integer expected");
  }
  if (item.value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return Malformed("CBOR: integer over 63 bits");
  }
  std::int64_t value = static_cast<std::int64_t>(item.value);
  return item.kind == Kind::kUnsigned ? value : -1 - value;
}

absl::StatusOr<bool> CborReader::ReadBool() {
  BULLA_ASSIGN_OR_RETURN(Item item, Next(Kind::kBool));
  return item.value != 0;
}

absl::StatusOr<ByteSpan> CborReader::ReadBytes(std::size_t max_bytes) {
  BULLA_ASSIGN_OR_RETURN(Item item, Next(Kind::kBytes));
  if (item.content.size() > max_bytes) return Malformed("CBOR: byte string over its limit");
  return item.content;
}

absl::StatusOr<std::optional<ByteSpan>> CborReader::ReadBytesOrNull(std::size_t max_bytes) {
  BULLA_ASSIGN_OR_RETURN(Kind kind, Peek());
  if (kind == Kind::kNull) {
    BULLA_RETURN_IF_ERROR(Next().status());
    return std::optional<ByteSpan>();
  }
  BULLA_ASSIGN_OR_RETURN(ByteSpan bytes, ReadBytes(max_bytes));
  return std::optional<ByteSpan>(bytes);
}

absl::StatusOr<std::string_view> CborReader::ReadText(std::size_t max_bytes) {
  BULLA_ASSIGN_OR_RETURN(Item item, Next(Kind::kText));
  if (item.content.size() > max_bytes) return Malformed("CBOR: text over its limit");
  return AsText(item.content);
}

absl::StatusOr<std::uint64_t> CborReader::ReadTag() {
  BULLA_ASSIGN_OR_RETURN(Item item, Next(Kind::kTag));
  return item.value;
}

absl::Status CborReader::ReadCollection(Kind kind, std::size_t max_items,
                                        const std::function<absl::Status()>& item) {
  BULLA_ASSIGN_OR_RETURN(Item head, Next(kind));
  if (!head.indefinite && head.value > max_items) {
    return Malformed("CBOR: collection over its limit");
  }
  for (std::size_t i = 0; head.indefinite || i < head.value; ++i) {
    if (head.indefinite && AtBreak()) {
      rest_ = rest_.subspan(1);
      return absl::OkStatus();
    }
    if (i >= max_items) return Malformed("CBOR: collection over its limit");
    BULLA_RETURN_IF_ERROR(item());
  }
  return absl::OkStatus();
}

absl::Status CborReader::ReadMap(std::size_t max_entries,
                                 const std::function<absl::Status()>& entry) {
  return ReadCollection(Kind::kMap, max_entries, entry);
}

absl::Status CborReader::ReadArray(std::size_t max_items,
                                   const std::function<absl::Status()>& item) {
  return ReadCollection(Kind::kArray, max_items, item);
}

absl::Status CborReader::Skip() { return SkipNested(kDepthMax); }

absl::Status CborReader::SkipNested(int depth_left) {
  if (depth_left == 0) return Malformed("CBOR: nested too deep");
  BULLA_ASSIGN_OR_RETURN(Kind kind, Peek());
  switch (kind) {
    case Kind::kArray:
      return ReadArray(kSkippedItemsMax, [&] { return SkipNested(depth_left - 1); });
    case Kind::kMap:
      return ReadMap(kSkippedItemsMax, [&]() -> absl::Status {
        BULLA_RETURN_IF_ERROR(SkipNested(depth_left - 1));
        return SkipNested(depth_left - 1);
      });
    case Kind::kTag:
      BULLA_RETURN_IF_ERROR(Next().status());
      return SkipNested(depth_left - 1);
    default:
      return Next().status();
  }
}

absl::Status CborReader::ExpectEnd() const {
  return rest_.empty() ? absl::OkStatus() : Malformed("CBOR: bytes after the end");
}

template <typename Encode>
CborWriter& CborWriter::Head(Encode encode) {
  ByteArray<9> head;  // the longest head: one byte and 64 bits
  std::size_t size = encode(head.data(), head.size());
  BULLA_CHECK(size > 0, "a CBOR head is at most nine bytes");
  bytes_.insert(bytes_.end(), head.begin(), head.begin() + static_cast<std::ptrdiff_t>(size));
  return *this;
}

CborWriter& CborWriter::Unsigned(std::uint64_t value) {
  return Head([&](std::uint8_t* out, std::size_t n) { return cbor_encode_uint(value, out, n); });
}

CborWriter& CborWriter::Integer(std::int64_t value) {
  if (value >= 0) return Unsigned(static_cast<std::uint64_t>(value));
  return Head([&](std::uint8_t* out, std::size_t n) {
    return cbor_encode_negint(static_cast<std::uint64_t>(-1 - value), out, n);
  });
}

CborWriter& CborWriter::Bool(bool value) {
  return Head([&](std::uint8_t* out, std::size_t n) { return cbor_encode_bool(value, out, n); });
}

CborWriter& CborWriter::Null() { return Head(cbor_encode_null); }

CborWriter& CborWriter::ByteString(ByteSpan bytes) {
  Head([&](std::uint8_t* out, std::size_t n) {
    return cbor_encode_bytestring_start(bytes.size(), out, n);
  });
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}

CborWriter& CborWriter::ByteStringOrNull(const std::optional<Bytes>& bytes) {
  return bytes ? ByteString(*bytes) : Null();
}

CborWriter& CborWriter::Text(std::string_view text) {
  Head([&](std::uint8_t* out, std::size_t n) {
    return cbor_encode_string_start(text.size(), out, n);
  });
  bytes_.insert(bytes_.end(), text.begin(), text.end());
  return *this;
}

CborWriter& CborWriter::Array(std::size_t items) {
  return Head(
      [&](std::uint8_t* out, std::size_t n) { return cbor_encode_array_start(items, out, n); });
}

CborWriter& CborWriter::Map(std::size_t entries) {
  return Head(
      [&](std::uint8_t* out, std::size_t n) { return cbor_encode_map_start(entries, out, n); });
}

CborWriter& CborWriter::IndefiniteMap() { return Head(cbor_encode_indef_map_start); }

CborWriter& CborWriter::Break() { return Head(cbor_encode_break); }

}  // namespace bulla
