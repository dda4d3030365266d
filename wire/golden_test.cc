// The bytes of the protocol, held still: each file of wire/golden/ has what the messages of one
// version look like, in protobuf's text format and as bytes. When a line of them has to change,
// peers that speak that version no longer understand each other: wire/README.md says what to do
// then.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include "wire/codec.h"
#include "wire/enclave.pb.h"
#include "wire/key_policy.h"

namespace bulla {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

struct Golden {
  std::string name;   // of the message
  std::string text;   // protobuf's text format
  std::string bytes;  // hexadecimal
};

std::unique_ptr<Message> NewMessage(const std::string& name) {
  const Descriptor* type =
      wire::v1::HelloRequest::descriptor()->file()->FindMessageTypeByName(name);
  if (type == nullptr) return nullptr;
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

class WireGolden : public testing::Test {
 protected:
  void SetUp() override {
    const char* source_dir = std::getenv("BULLA_SOURCE_DIR");
    if (source_dir == nullptr) GTEST_SKIP() << "BULLA_SOURCE_DIR is not set (ctest sets it)";
    for (const auto& entry :
         std::filesystem::directory_iterator(std::string(source_dir) + "/wire/golden")) {
      Read(entry.path());
    }
  }

  // "message NAME", lines of text, lines of "bytes HEX"; "#" begins a comment.
  void Read(const std::filesystem::path& path) {
    std::vector<Golden>& messages =
        versions_[static_cast<std::uint32_t>(std::stoul(path.stem().string()))];
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      if (line.empty() || line[0] == '#') continue;
      if (line.starts_with("message ")) {
        messages.push_back({.name = line.substr(8)});
      } else if (messages.empty()) {
        ADD_FAILURE() << path << ": before the first message: " << line;
      } else if (line.starts_with("bytes ")) {
        messages.back().bytes += line.substr(6);
      } else {
        messages.back().text += line + "\n";
      }
    }
  }

  // The first message of the name; empty when there is none.
  Golden Find(std::uint32_t version, std::string_view name) {
    const std::vector<Golden>& messages = versions_[version];
    const auto found = std::ranges::find(messages, name, &Golden::name);
    return found == messages.end() ? Golden{} : *found;
  }
  std::string CurrentBytes(std::string_view name) { return Find(kWireProtocolVersion, name).bytes; }

  std::map<std::uint32_t, std::vector<Golden>> versions_;
};

std::string Hex(const Message& message) { return HexEncode(AsBytes(message.SerializeAsString())); }

TEST_F(WireGolden, EveryMessageOfEveryVersionHasTheBytesThatItHad) {
  for (const auto& [version, messages] : versions_) {
    for (const auto& [name, text, bytes] : messages) {
      SCOPED_TRACE(fmt::format("wire/golden/{}.txt, {}", version, name));
      std::unique_ptr<Message> written = NewMessage(name);
      std::unique_ptr<Message> read = NewMessage(name);
      ASSERT_TRUE(written && google::protobuf::TextFormat::ParseFromString(text, &*written));
      EXPECT_EQ(Hex(*written), bytes);
      Bytes decoded(bytes.size() / 2);
      ASSERT_TRUE(HexDecode(bytes, decoded));
      ASSERT_TRUE(read->ParseFromArray(decoded.data(), static_cast<int>(decoded.size())));
      EXPECT_EQ(read->DebugString(), written->DebugString());
    }
  }
}

TEST_F(WireGolden, ThereIsAFileForEachVersionWhoseHelloCanMeetOurs) {
  for (std::uint32_t version = 1; version <= kWireProtocolVersion; ++version) {
    SCOPED_TRACE(fmt::format("version {}", version));
    for (std::string name : {"HelloRequest", "HelloReply"}) {
      std::unique_ptr<Message> hello = NewMessage(name);
      ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(Find(version, name).text, &*hello));
      const FieldDescriptor* field = hello->GetDescriptor()->FindFieldByNumber(1);
      EXPECT_EQ(hello->GetReflection()->GetUInt32(*hello, field), version) << name;
    }
  }
  EXPECT_EQ(versions_.rbegin()->first, kWireProtocolVersion);
}

// Adds "Message.field" for each field of `message` that is set, and of those within.
void CollectSet(const Message& message, std::set<std::string>& fields) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> set;
  reflection.ListFields(message, &set);
  for (const FieldDescriptor* field : set) {
    fields.insert(field->containing_type()->name() + "." + field->name());
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      CollectSet(reflection.GetMessage(message, field), fields);
    } else {
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        CollectSet(reflection.GetRepeatedMessage(message, field, i), fields);
      }
    }
  }
}

TEST_F(WireGolden, NoFieldOfTheCurrentVersionIsMissing) {
  std::set<std::string> golden_fields;
  for (const auto& [name, text, bytes] : versions_[kWireProtocolVersion]) {
    std::unique_ptr<Message> message = NewMessage(name);
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &*message)) << name;
    CollectSet(*message, golden_fields);
  }
  const google::protobuf::FileDescriptor& file = *wire::v1::HelloRequest::descriptor()->file();
  for (int i = 0; i < file.message_type_count(); ++i) {
    const Descriptor& type = *file.message_type(i);
    for (int j = 0; j < type.field_count(); ++j) {
      const std::string name = type.name() + "." + type.field(j)->name();
      EXPECT_EQ(golden_fields.count(name), 1u)
          << name << " is in no message of wire/golden/" << kWireProtocolVersion << ".txt";
    }
  }
}

// Sixteen characters: an id.
template <typename Id>
Id IdOf(std::string_view text) {
  return Id::FromBytes(AsBytes(text));
}

TEST_F(WireGolden, ABatchOfRequestsIsTheFrameThatItWas) {
  RequestBatch batch;
  batch.loads = {{'b', 'l', 'o', 'b'}, {0}};
  for (std::uint32_t i : {1, 2}) {
    SignItem item{.sequence = 0x01020300 + i,
                  .key_id = IdOf<KeyId>(fmt::format("signing key no.{}", i)),
                  .budget_us = 1000 * i};
    std::ranges::copy(AsBytes(fmt::format("digest of 32 bytes, of number  {}", i)),
                      item.digest.begin());
    batch.signs.push_back(item);
  }
  batch.creates = {{.sequence = 3, .key_id = IdOf<KeyId>("a key to be made")}};
  wire::v1::RequestFrame frame;
  EncodeRequest(batch, frame);
  EXPECT_EQ(Hex(frame), CurrentBytes("RequestFrame")) << frame.DebugString();
}

TEST_F(WireGolden, ABatchOfRepliesIsTheFrameThatItWas) {
  ReplyBatch batch;
  for (std::uint8_t i = 0; i < kItemStatusCount; ++i) {  // each status
    SignReply reply{.sequence = 0x01020300u + i, .status = static_cast<ItemStatus>(i)};
    // Zero where there is none, but the codec carries whatever stands there.
    reply.signature.rs.fill(static_cast<std::uint8_t>('a' + i));
    reply.signature.recovery_id = static_cast<std::uint8_t>(i % 4);
    batch.signs.push_back(reply);
  }
  CreateReply created{.sequence = 7,
                      .status = ItemStatus::kOk,
                      .dek_id = IdOf<DekId>("the DEK it is in"),
                      .blob = {'b', 'l', 'o', 'b'},
                      .address = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"};
  created.public_key.fill('p');
  batch.creates = {created, {.sequence = 8, .status = ItemStatus::kNoSealingDek}};
  wire::v1::ReplyFrame frame;
  EncodeReply(batch, frame);
  EXPECT_EQ(Hex(frame), CurrentBytes("ReplyFrame")) << frame.DebugString();
}

TEST_F(WireGolden, TheSpecsKeyPolicyIsTheRequestThatItWas) {
  wire::v1::ConfigureRequest request;
  EncodeKeyPolicy(KeyPolicy{}, *request.mutable_settings());
  EXPECT_EQ(Hex(request), CurrentBytes("ConfigureRequest")) << request.DebugString();
}

}  // namespace
}  // namespace bulla
