#include "kms/nsm.h"

#include <gtest/gtest.h>

#include "kms/nsm_device.h"

namespace bulla {
namespace {

Bytes FromHex(std::string_view hex) {
  Bytes out(hex.size() / 2);
  EXPECT_TRUE(HexDecode(hex, out)) << hex;
  return out;
}

// The fixtures are the module's interface as AWS's library writes it.

TEST(NsmCodec, RequestsAreTheBytesThatTheDeviceTakes) {
  EXPECT_EQ(HexEncode(EncodeGetRandomRequest()), "6947657452616e646f6d");
  EXPECT_EQ(HexEncode(EncodeDescribePcrRequest(0)), "a16b4465736372696265504352a165696e64657800");
  EXPECT_EQ(HexEncode(EncodeAttestRequest({})),
            "a16b4174746573746174696f6ea369757365725f64617461f6656e6f6e6365f66a7075626c69635f6b6579"
            "f6");
  EXPECT_EQ(HexEncode(EncodeAttestRequest({Bytes{1}, Bytes{2, 3}, Bytes{}})),
            "a16b4174746573746174696f6ea369757365725f646174614101656e6f6e63654202036a7075626c69635f"
            "6b657940");
}

TEST(NsmCodec, RepliesOfTheDeviceAreUnderstood) {
  Bytes random = FromHex("a16947657452616e646f6da16672616e646f6d590100" + std::string(512, 'a'));
  EXPECT_EQ(DecodeGetRandomReply(random).value(), Bytes(256, 0xaa));
  Bytes document = FromHex("a16b4174746573746174696f6ea168646f63756d656e74590003010203");
  EXPECT_EQ(DecodeAttestReply(document).value(), (Bytes{1, 2, 3}));
  Bytes pcr =
      FromHex("a16b4465736372696265504352a2646c6f636bf564646174615830" + std::string(96, 'b'));
  absl::StatusOr<PcrState> state = DecodeDescribePcrReply(pcr);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_TRUE(state->locked);
  EXPECT_EQ(state->value[47], 0xbb);
}

TEST(NsmCodec, AnErrorReplyIsNamed) {
  Bytes error = FromHex("a1654572726f726c496e76616c6964496e646578");
  absl::Status status = DecodeDescribePcrReply(error).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_NE(std::string(status.message()).find("InvalidIndex"), std::string::npos);
}

TEST(NsmCodec, ShortRandomnessIsRefused) {
  Bytes random = FromHex("a16947657452616e646f6da16672616e646f6d58ff" + std::string(510, 'a'));
  EXPECT_FALSE(DecodeGetRandomReply(random).ok());
}

TEST(NsmCodec, TheAnswerToAnotherQuestionIsRefused) {
  Bytes random = FromHex("a16947657452616e646f6da16672616e646f6d590100" + std::string(512, 'a'));
  EXPECT_FALSE(DecodeAttestReply(random).ok());
  random.push_back(0);
  EXPECT_FALSE(DecodeGetRandomReply(random).ok()) << "bytes after the end";
  EXPECT_FALSE(DecodeGetRandomReply({}).ok());
}

TEST(NsmDevice, WhereThereIsNoneTheMessageSaysSo) {
  absl::Status status = NsmDevice::Open("/nonexistent/nsm").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_NE(std::string(status.message()).find("/nonexistent/nsm"), std::string::npos);
}

}  // namespace
}  // namespace bulla
