#include "wire/codec.h"

#include <cstring>
#include <fmt/format.h>

#include <zlib.h>

#include "wire/enclave.pb.h"

namespace bulla {
namespace {

constexpr std::size_t kAddressChars = 42;  // 0x and 40 digits

// A column under construction: `width` bytes an item, appended in order.
class ColumnWriter {
 public:
  ColumnWriter(std::string& column, std::size_t items, std::size_t width) : column_(column) {
    column_.clear();
    column_.reserve(items * width);
  }
  void Add(ByteSpan bytes) { column_.append(AsText(bytes)); }
  void Add32(std::uint32_t value) {
    ByteArray<4> bytes;
    StoreBigEndian32(value, bytes.data());
    Add(bytes);
  }
  void Add8(std::uint8_t value) { column_.push_back(static_cast<char>(value)); }

 private:
  std::string& column_;
};

// Item i of a column whose length was checked.
ByteSpan Item(const std::string& column, std::size_t i, std::size_t width) {
  return AsBytes(column).subspan(i * width, width);
}

absl::Status CheckColumn(std::string_view name, const std::string& column, std::size_t items,
                         std::size_t width) {
  if (column.size() == items * width) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("frame: {} has {} bytes, want {} items of {}", name,
                                                column.size(), items, width));
}

// The number of 4-byte sequence numbers in `column`, at most `max`.
absl::StatusOr<std::size_t> CountItems(std::string_view name, const std::string& column,
                                       std::size_t max) {
  if (column.size() % 4 != 0 || column.size() / 4 > max) {
    return absl::InvalidArgumentError(fmt::format(
        "frame: {} has {} bytes, want at most {} items of 4", name, column.size(), max));
  }
  return column.size() / 4;
}

template <std::size_t N>
void Copy(ByteSpan from, ByteArray<N>& to) {
  std::memcpy(to.data(), from.data(), N);
}

// CRC-32 over fields, each with its length, so that a byte that moves from one to the next shows.
class Checksum {
 public:
  Checksum& Add(const std::string& field) {
    Add(field.size());
    value_ = ::crc32_z(value_, AsBytes(field).data(), field.size());
    return *this;
  }
  Checksum& Add(std::uint64_t number) {
    ByteArray<4> bytes;
    StoreBigEndian32(static_cast<std::uint32_t>(number), bytes.data());
    value_ = ::crc32_z(value_, bytes.data(), bytes.size());
    return *this;
  }
  std::uint32_t value() const { return static_cast<std::uint32_t>(value_); }

 private:
  uLong value_ = 0;
};

std::uint32_t ChecksumOf(const wire::v1::RequestFrame& frame) {
  Checksum sum;
  for (const std::string& blob : frame.load_blobs()) sum.Add(blob);
  return sum.Add(frame.sign_sequences())
      .Add(frame.sign_key_ids())
      .Add(frame.sign_digests())
      .Add(frame.sign_budgets_us())
      .Add(frame.create_sequences())
      .Add(frame.create_key_ids())
      .value();
}

std::uint32_t ChecksumOf(const wire::v1::ReplyFrame& frame) {
  Checksum sum;
  for (const wire::v1::CreatedKey& key : frame.created()) {
    sum.Add(key.sequence())
        .Add(key.status())
        .Add(key.dek_id())
        .Add(key.blob())
        .Add(key.public_key())
        .Add(key.address());
  }
  return sum.Add(frame.sign_sequences())
      .Add(frame.sign_statuses())
      .Add(frame.sign_recovery_ids())
      .Add(frame.signatures())
      .value();
}

template <typename Frame>
absl::Status CheckChecksum(const Frame& frame) {
  if (const std::uint32_t sum = ChecksumOf(frame); frame.checksum() != sum) {
    return absl::DataLossError(
        fmt::format("frame: checksum {:08x}, want {:08x}", frame.checksum(), sum));
  }
  return absl::OkStatus();
}

absl::Status DecodeCreated(const wire::v1::CreatedKey& key, CreateReply& reply) {
  reply.sequence = key.sequence();
  if (key.status() >= kItemStatusCount) {
    return absl::InvalidArgumentError(fmt::format("frame: created status {}", key.status()));
  }
  reply.status = static_cast<ItemStatus>(key.status());
  if (reply.status != ItemStatus::kOk) return absl::OkStatus();
  if (key.dek_id().size() != DekId::kBytes || key.blob().empty() ||
      key.blob().size() > kSealedBlobBytesMax || key.public_key().size() != 33 ||
      key.address().size() != kAddressChars) {
    return absl::InvalidArgumentError("frame: a created key has a field of the wrong length");
  }
  reply.dek_id = DekId::FromBytes(AsBytes(key.dek_id()));
  reply.blob.assign(key.blob().begin(), key.blob().end());
  Copy(AsBytes(key.public_key()), reply.public_key);
  reply.address = key.address();
  return absl::OkStatus();
}

}  // namespace

void RequestBatch::clear() {
  loads.clear();
  signs.clear();
  creates.clear();
}

void ReplyBatch::clear() {
  signs.clear();
  creates.clear();
}

void ReplyBatch::Append(ReplyBatch& other) {
  if (empty()) {
    std::swap(*this, other);
  } else {
    signs.insert(signs.end(), other.signs.begin(), other.signs.end());
    std::ranges::move(other.creates, std::back_inserter(creates));
  }
  other.clear();
}

void EncodeRequest(const RequestBatch& batch, wire::v1::RequestFrame& frame) {
  frame.clear_load_blobs();
  for (const Bytes& blob : batch.loads) frame.add_load_blobs(blob.data(), blob.size());

  std::size_t n = batch.signs.size();
  ColumnWriter sequences(*frame.mutable_sign_sequences(), n, 4);
  ColumnWriter key_ids(*frame.mutable_sign_key_ids(), n, KeyId::kBytes);
  ColumnWriter digests(*frame.mutable_sign_digests(), n, 32);
  ColumnWriter budgets(*frame.mutable_sign_budgets_us(), n, 4);
  for (const SignItem& item : batch.signs) {
    sequences.Add32(item.sequence);
    key_ids.Add(item.key_id.bytes);
    digests.Add(item.digest);
    budgets.Add32(item.budget_us);
  }

  ColumnWriter create_sequences(*frame.mutable_create_sequences(), batch.creates.size(), 4);
  ColumnWriter create_ids(*frame.mutable_create_key_ids(), batch.creates.size(), KeyId::kBytes);
  for (const CreateItem& item : batch.creates) {
    create_sequences.Add32(item.sequence);
    create_ids.Add(item.key_id.bytes);
  }
  frame.set_checksum(ChecksumOf(frame));
}

absl::Status DecodeRequest(const wire::v1::RequestFrame& frame, RequestBatch& batch) {
  batch.clear();
  if (static_cast<std::size_t>(frame.load_blobs_size()) > kFrameLoadsMax) {
    return absl::InvalidArgumentError(
        fmt::format("frame: {} blobs, at most {}", frame.load_blobs_size(), kFrameLoadsMax));
  }
  for (const std::string& blob : frame.load_blobs()) {
    if (blob.empty() || blob.size() > kSealedBlobBytesMax) {
      return absl::InvalidArgumentError(
          fmt::format("frame: a blob of {} bytes, want 1 to {}", blob.size(), kSealedBlobBytesMax));
    }
    batch.loads.emplace_back(blob.begin(), blob.end());
  }

  BULLA_ASSIGN_OR_RETURN(std::size_t n,
                         CountItems("sign_sequences", frame.sign_sequences(), kFrameSignsMax));
  BULLA_RETURN_IF_ERROR(CheckColumn("sign_key_ids", frame.sign_key_ids(), n, KeyId::kBytes));
  BULLA_RETURN_IF_ERROR(CheckColumn("sign_digests", frame.sign_digests(), n, 32));
  BULLA_RETURN_IF_ERROR(CheckColumn("sign_budgets_us", frame.sign_budgets_us(), n, 4));
  batch.signs.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    SignItem& item = batch.signs[i];
    item.sequence = LoadBigEndian32(Item(frame.sign_sequences(), i, 4).data());
    item.key_id = KeyId::FromBytes(Item(frame.sign_key_ids(), i, KeyId::kBytes));
    Copy(Item(frame.sign_digests(), i, 32), item.digest);
    item.budget_us = LoadBigEndian32(Item(frame.sign_budgets_us(), i, 4).data());
  }

  BULLA_ASSIGN_OR_RETURN(
      std::size_t m, CountItems("create_sequences", frame.create_sequences(), kFrameCreatesMax));
  BULLA_RETURN_IF_ERROR(CheckColumn("create_key_ids", frame.create_key_ids(), m, KeyId::kBytes));
  batch.creates.resize(m);
  for (std::size_t i = 0; i < m; ++i) {
    batch.creates[i].sequence = LoadBigEndian32(Item(frame.create_sequences(), i, 4).data());
    batch.creates[i].key_id = KeyId::FromBytes(Item(frame.create_key_ids(), i, KeyId::kBytes));
  }
  return CheckChecksum(frame);
}

void EncodeReply(const ReplyBatch& batch, wire::v1::ReplyFrame& frame) {
  std::size_t n = batch.signs.size();
  ColumnWriter sequences(*frame.mutable_sign_sequences(), n, 4);
  ColumnWriter statuses(*frame.mutable_sign_statuses(), n, 1);
  ColumnWriter recovery_ids(*frame.mutable_sign_recovery_ids(), n, 1);
  ColumnWriter signatures(*frame.mutable_signatures(), n, 64);
  for (const SignReply& reply : batch.signs) {
    sequences.Add32(reply.sequence);
    statuses.Add8(static_cast<std::uint8_t>(reply.status));
    recovery_ids.Add8(reply.signature.recovery_id);
    signatures.Add(reply.signature.rs);
  }

  frame.clear_created();
  for (const CreateReply& reply : batch.creates) {
    wire::v1::CreatedKey& key = *frame.add_created();
    key.set_sequence(reply.sequence);
    key.set_status(static_cast<std::uint32_t>(reply.status));
    if (reply.status != ItemStatus::kOk) continue;
    key.set_dek_id(reply.dek_id.bytes.data(), DekId::kBytes);
    key.set_blob(reply.blob.data(), reply.blob.size());
    key.set_public_key(reply.public_key.data(), reply.public_key.size());
    key.set_address(reply.address);
  }
  frame.set_checksum(ChecksumOf(frame));
}

absl::Status DecodeReply(const wire::v1::ReplyFrame& frame, ReplyBatch& batch) {
  batch.clear();
  BULLA_ASSIGN_OR_RETURN(std::size_t n,
                         CountItems("sign_sequences", frame.sign_sequences(), kFrameSignsMax));
  BULLA_RETURN_IF_ERROR(CheckColumn("sign_statuses", frame.sign_statuses(), n, 1));
  BULLA_RETURN_IF_ERROR(CheckColumn("sign_recovery_ids", frame.sign_recovery_ids(), n, 1));
  BULLA_RETURN_IF_ERROR(CheckColumn("signatures", frame.signatures(), n, 64));
  batch.signs.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    SignReply& reply = batch.signs[i];
    reply.sequence = LoadBigEndian32(Item(frame.sign_sequences(), i, 4).data());
    std::uint8_t status = Item(frame.sign_statuses(), i, 1)[0];
    std::uint8_t recovery_id = Item(frame.sign_recovery_ids(), i, 1)[0];
    if (status >= kItemStatusCount || recovery_id > 3) {
      return absl::InvalidArgumentError(
          fmt::format("frame: status {}, recovery id {}", status, recovery_id));
    }
    reply.status = static_cast<ItemStatus>(status);
    reply.signature.recovery_id = recovery_id;
    Copy(Item(frame.signatures(), i, 64), reply.signature.rs);
  }

  if (static_cast<std::size_t>(frame.created_size()) > kFrameCreatesMax) {
    return absl::InvalidArgumentError(
        fmt::format("frame: {} created keys, at most {}", frame.created_size(), kFrameCreatesMax));
  }
  batch.creates.resize(static_cast<std::size_t>(frame.created_size()));
  for (std::size_t i = 0; i < batch.creates.size(); ++i) {
    BULLA_RETURN_IF_ERROR(DecodeCreated(frame.created(static_cast<int>(i)), batch.creates[i]));
  }
  return CheckChecksum(frame);
}

}  // namespace bulla
