#include "http2/grpc_message.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace bulla::http2 {
namespace {

using Found = GrpcMessageReader::Found;

std::string Framed(const std::vector<std::string>& messages) {
  std::string out;
  for (const std::string& message : messages) AppendGrpcMessage(AsBytes(message), out);
  return out;
}

// What is found in `data`, given in pieces of `piece` bytes.
std::vector<std::string> ReadAll(GrpcMessageReader& reader, std::string_view data,
                                 std::size_t piece) {
  std::vector<std::string> found;
  for (std::size_t at = 0; at < data.size(); at += piece) {
    ByteSpan bytes = AsBytes(data.substr(at, piece));
    ByteSpan message;
    while (reader.Next(bytes, message) == Found::kMessage) found.emplace_back(AsText(message));
    EXPECT_TRUE(bytes.empty());
  }
  return found;
}

TEST(GrpcMessage, IsFoundInPiecesOfAnySize) {
  const std::vector<std::string> messages = {"", "a", std::string(300, 'b'), "", "cd"};
  const std::string data = Framed(messages);
  for (std::size_t piece = 1; piece <= data.size(); ++piece) {
    GrpcMessageReader reader(300);
    EXPECT_EQ(ReadAll(reader, data, piece), messages) << piece;
    EXPECT_FALSE(reader.in_message());
  }
}

TEST(GrpcMessage, ThatIsTooLongIsRefusedByItsPrefix) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{5}, std::size_t{100}}) {
    GrpcMessageReader reader(299);
    const std::string data = Framed({std::string(300, 'b')}).substr(0, 5);
    Found found = Found::kMore;
    for (std::size_t at = 0; at < data.size(); at += piece) {
      ByteSpan bytes = AsBytes(std::string_view(data).substr(at, piece));
      ByteSpan message;
      found = reader.Next(bytes, message);
    }
    EXPECT_EQ(found, Found::kTooLong);
    EXPECT_EQ(reader.announced_bytes(), 300u);
  }
}

TEST(GrpcMessage, TakesNoMoreMemoryThanHasArrived) {
  GrpcMessageReader reader(1 << 30);
  const std::string data = std::string("\0\x3f\xff\xff\xff", 5) + std::string(1000, 'x');
  ByteSpan bytes = AsBytes(data);
  ByteSpan message;
  EXPECT_EQ(reader.Next(bytes, message), Found::kMore);
  EXPECT_TRUE(reader.in_message());
  EXPECT_LT(reader.memory_bytes(), 4000u);
}

TEST(GrpcMessage, ThatIsCompressedIsRefused) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{100}}) {
    GrpcMessageReader reader(100);
    const std::string data("\1\0\0\0\1x", 6);
    Found found = Found::kMore;
    for (std::size_t at = 0; at < 5; at += piece) {
      ByteSpan bytes = AsBytes(std::string_view(data).substr(at, piece));
      ByteSpan message;
      found = reader.Next(bytes, message);
    }
    EXPECT_EQ(found, Found::kCompressed);
  }
}

TEST(GrpcMessage, KeepsNoLargeBufferWhenItIsDone) {
  GrpcMessageReader reader(1 << 20);
  const std::string data = Framed({std::string(1 << 20, 'b'), "c"});
  EXPECT_EQ(ReadAll(reader, data, 16'384).size(), 2u);
  EXPECT_LE(reader.memory_bytes(), 4096u);
}

}  // namespace
}  // namespace bulla::http2
