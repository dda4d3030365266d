#include "wire/codec.h"

#include <gtest/gtest.h>
#include <random>

#include "wire/enclave.pb.h"

namespace bulla {
namespace {

RequestBatch FullRequest() {
  RequestBatch batch;
  batch.loads = {{1, 2, 3}, Bytes(kSealedBlobBytesMax, 9)};
  for (std::uint32_t i = 0; i < kFrameSignsMax; ++i) {
    SignItem item{.sequence = 0x01020300 + i, .key_id = KeyId::New({}), .budget_us = 5000 + i};
    item.digest[31] = static_cast<std::uint8_t>(i);
    batch.signs.push_back(item);
  }
  for (std::uint32_t i = 0; i < kFrameCreatesMax; ++i) {
    batch.creates.push_back({.sequence = i, .key_id = KeyId::New({})});
  }
  return batch;
}

ReplyBatch FullReply() {
  ReplyBatch batch;
  for (std::uint32_t i = 0; i < kFrameSignsMax; ++i) {
    SignReply reply{.sequence = i, .status = static_cast<ItemStatus>(i % kItemStatusCount)};
    reply.signature.rs[0] = static_cast<std::uint8_t>(i);
    reply.signature.recovery_id = static_cast<std::uint8_t>(i % 4);
    batch.signs.push_back(reply);
  }
  CreateReply created{.sequence = 7, .status = ItemStatus::kOk, .dek_id = DekId::New({})};
  created.blob = {1, 2, 3};
  created.public_key[0] = 2;
  created.address = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
  batch.creates = {created, {.sequence = 8, .status = ItemStatus::kBusy}};
  return batch;
}

TEST(Codec, RequestSurvivesTheRoundTrip) {
  RequestBatch batch = FullRequest();
  wire::v1::RequestFrame frame;
  EncodeRequest(batch, frame);
  RequestBatch back;
  ASSERT_TRUE(DecodeRequest(frame, back).ok());
  EXPECT_EQ(back.loads, batch.loads);
  ASSERT_EQ(back.signs.size(), batch.signs.size());
  for (std::size_t i = 0; i < batch.signs.size(); ++i) {
    EXPECT_EQ(back.signs[i].sequence, batch.signs[i].sequence);
    EXPECT_EQ(back.signs[i].key_id, batch.signs[i].key_id);
    EXPECT_EQ(back.signs[i].digest, batch.signs[i].digest);
    EXPECT_EQ(back.signs[i].budget_us, batch.signs[i].budget_us);
  }
  ASSERT_EQ(back.creates.size(), batch.creates.size());
  EXPECT_EQ(back.creates.back().key_id, batch.creates.back().key_id);
}

// Each bit of the encoded frame, turned: the frame is refused, or says the same as before.
template <typename Frame, typename Batch, typename Decode, typename Encode>
void TurnEachBit(const Batch& batch, Decode decode, Encode encode) {
  Frame frame;
  encode(batch, frame);
  const std::string text = frame.SerializeAsString();
  for (std::size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string turned = text;
    turned[bit / 8] = static_cast<char>(turned[bit / 8] ^ (1 << (bit % 8)));
    Frame garbled;
    Batch back;
    if (!garbled.ParseFromString(turned) || !decode(garbled, back).ok()) continue;
    Frame again;
    encode(back, again);
    ASSERT_EQ(again.SerializeAsString(), text) << "bit " << bit;
  }
}

TEST(Codec, ATurnedBitIsNoticedWhereverItIs) {
  RequestBatch request = FullRequest();
  request.signs.resize(2);
  TurnEachBit<wire::v1::RequestFrame>(request, DecodeRequest, EncodeRequest);
  ReplyBatch reply = FullReply();
  reply.signs.resize(2);
  TurnEachBit<wire::v1::ReplyFrame>(reply, DecodeReply, EncodeReply);
}

TEST(Codec, ReplySurvivesTheRoundTrip) {
  ReplyBatch batch = FullReply();
  wire::v1::ReplyFrame frame;
  EncodeReply(batch, frame);
  ReplyBatch back;
  ASSERT_TRUE(DecodeReply(frame, back).ok());
  ASSERT_EQ(back.signs.size(), batch.signs.size());
  for (std::size_t i = 0; i < batch.signs.size(); ++i) {
    EXPECT_EQ(back.signs[i].sequence, batch.signs[i].sequence);
    EXPECT_EQ(back.signs[i].status, batch.signs[i].status);
    EXPECT_EQ(back.signs[i].signature, batch.signs[i].signature);
  }
  ASSERT_EQ(back.creates.size(), 2u);
  EXPECT_EQ(back.creates[0].dek_id, batch.creates[0].dek_id);
  EXPECT_EQ(back.creates[0].blob, batch.creates[0].blob);
  EXPECT_EQ(back.creates[0].address, batch.creates[0].address);
  EXPECT_EQ(back.creates[1].status, ItemStatus::kBusy);
}

TEST(Codec, AFullFrameStaysUnderEightKibibytes) {
  wire::v1::RequestFrame request;
  RequestBatch batch = FullRequest();
  batch.loads.assign(kFrameLoadsMax, Bytes(160, 1));
  EncodeRequest(batch, request);
  EXPECT_LT(request.ByteSizeLong(), 8192u);
}

TEST(Codec, ColumnsThatDisagreeAreRefused) {
  RequestBatch back;
  for (int column = 0; column < 6; ++column) {
    wire::v1::RequestFrame frame;
    EncodeRequest(FullRequest(), frame);
    std::string* columns[] = {frame.mutable_sign_sequences(),   frame.mutable_sign_key_ids(),
                              frame.mutable_sign_digests(),     frame.mutable_sign_budgets_us(),
                              frame.mutable_create_sequences(), frame.mutable_create_key_ids()};
    columns[column]->pop_back();
    EXPECT_FALSE(DecodeRequest(frame, back).ok()) << "column " << column;
  }
}

TEST(Codec, OneItemOverAnyLimitIsRefused) {
  RequestBatch back;
  wire::v1::RequestFrame frame;
  RequestBatch batch = FullRequest();
  batch.signs.push_back(batch.signs[0]);
  EncodeRequest(batch, frame);
  EXPECT_FALSE(DecodeRequest(frame, back).ok()) << "signs";

  batch = FullRequest();
  batch.creates.push_back(batch.creates[0]);
  EncodeRequest(batch, frame);
  EXPECT_FALSE(DecodeRequest(frame, back).ok()) << "creates";

  batch = FullRequest();
  batch.loads.assign(kFrameLoadsMax + 1, {1});
  EncodeRequest(batch, frame);
  EXPECT_FALSE(DecodeRequest(frame, back).ok()) << "loads";

  batch.loads = {Bytes(kSealedBlobBytesMax + 1, 1)};
  EncodeRequest(batch, frame);
  EXPECT_FALSE(DecodeRequest(frame, back).ok()) << "blob";
}

TEST(Codec, UnknownStatusAndRecoveryIdAreRefused) {
  wire::v1::ReplyFrame frame;
  ReplyBatch back;
  EncodeReply(FullReply(), frame);
  (*frame.mutable_sign_statuses())[0] = kItemStatusCount;
  EXPECT_FALSE(DecodeReply(frame, back).ok());
  EncodeReply(FullReply(), frame);
  (*frame.mutable_sign_recovery_ids())[0] = 4;
  EXPECT_FALSE(DecodeReply(frame, back).ok());
  EncodeReply(FullReply(), frame);
  frame.mutable_created(0)->set_status(kItemStatusCount);
  EXPECT_FALSE(DecodeReply(frame, back).ok());
}

}  // namespace
}  // namespace bulla
