#pragma once

// CBOR (RFC 8949), as much of it as attestation documents and the Nitro Secure Module speak.
//
// The reader walks foreign bytes one item at a time over libcbor's streaming decoder, which
// allocates nothing: what it hands out are views of the input. Strings are definite, maps and
// arrays definite or indefinite, everything bounded by the caller. The writer emits minimal,
// definite items, and an indefinite map where asked, as real documents have one.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"

namespace bulla {

// Confined to one thread. Every error is INVALID_ARGUMENT and leaves the reader useless.
class CborReader {
 public:
  enum class Kind { kUnsigned, kNegative, kBytes, kText, kArray, kMap, kTag, kBool, kNull, kOther };

  // `input` must outlive the reader and every view that it returns.
  explicit CborReader(ByteSpan input) : rest_(input) {}

  // What comes next, without consuming it.
  absl::StatusOr<Kind> Peek() const;

  absl::StatusOr<std::uint64_t> ReadUnsigned();
  // An integer of either sign; refused when it does not fit.
  absl::StatusOr<std::int64_t> ReadInteger();
  absl::StatusOr<bool> ReadBool();
  absl::StatusOr<ByteSpan> ReadBytes(std::size_t max_bytes);
  // Nothing for null.
  absl::StatusOr<std::optional<ByteSpan>> ReadBytesOrNull(std::size_t max_bytes);
  absl::StatusOr<std::string_view> ReadText(std::size_t max_bytes);
  absl::StatusOr<std::uint64_t> ReadTag();

  // Calls `entry` for each entry; it must consume exactly a key and a value. Duplicate keys are
  // the caller's to see.
  absl::Status ReadMap(std::size_t max_entries, const std::function<absl::Status()>& entry);
  // Calls `item` for each item; it must consume exactly one.
  absl::Status ReadArray(std::size_t max_items, const std::function<absl::Status()>& item);

  // Consumes one item of any kind with all that is in it.
  absl::Status Skip();

  // Refuses trailing bytes.
  absl::Status ExpectEnd() const;

 private:
  struct Item;
  absl::StatusOr<Item> Decode() const;
  absl::StatusOr<Item> Next();
  absl::StatusOr<Item> Next(Kind wanted);
  bool AtBreak() const;
  absl::Status ReadCollection(Kind kind, std::size_t max_items,
                              const std::function<absl::Status()>& item);
  absl::Status SkipNested(int depth_left);

  ByteSpan rest_;
};

// Confined to one thread.
class CborWriter {
 public:
  CborWriter& Unsigned(std::uint64_t value);
  CborWriter& Integer(std::int64_t value);
  CborWriter& Bool(bool value);
  CborWriter& Null();
  CborWriter& ByteString(ByteSpan bytes);
  CborWriter& ByteStringOrNull(const std::optional<Bytes>& bytes);
  CborWriter& Text(std::string_view text);
  // The items of a collection follow its head.
  CborWriter& Array(std::size_t items);
  CborWriter& Map(std::size_t entries);
  CborWriter& IndefiniteMap();
  CborWriter& Break();

  const Bytes& bytes() const { return bytes_; }

 private:
  template <typename Encode>
  CborWriter& Head(Encode encode);

  Bytes bytes_;
};

}  // namespace bulla
