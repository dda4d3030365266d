#include "gateway/grpc/reflection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include "grpc/reflection/v1/reflection.pb.h"

namespace bulla {
namespace {

namespace v1api = grpc::reflection::v1;
using testing::UnorderedElementsAre;

v1api::ServerReflectionResponse Ask(const v1api::ServerReflectionRequest& request) {
  std::string bytes;
  EXPECT_TRUE(Reflection().Answer(AsBytes(request.SerializeAsString()), bytes));
  v1api::ServerReflectionResponse response;
  EXPECT_TRUE(response.ParseFromString(bytes));
  EXPECT_EQ(response.original_request().SerializeAsString(), request.SerializeAsString());
  return response;
}

TEST(Reflection, ListsTheServices) {
  v1api::ServerReflectionRequest request;
  request.set_list_services("*");
  std::vector<std::string> names;
  const v1api::ServerReflectionResponse response = Ask(request);
  for (const auto& service : response.list_services_response().service()) {
    names.push_back(service.name());
  }
  EXPECT_THAT(names, UnorderedElementsAre("bulla.v1.Signer", "grpc.health.v1.Health",
                                          "grpc.reflection.v1.ServerReflection"));
}

// A client that has nothing but the answer can make calls from it.
TEST(Reflection, GivesAFileWithAllThatItNeeds) {
  for (const char* symbol :
       {"bulla.v1.Signer", "bulla.v1.Signer.Sign", "bulla.v1.SignStreamResult.ok",
        "google.rpc.Status", "grpc.health.v1.HealthCheckResponse.ServingStatus"}) {
    v1api::ServerReflectionRequest request;
    request.set_file_containing_symbol(symbol);
    const v1api::ServerReflectionResponse response = Ask(request);
    const auto& files = response.file_descriptor_response().file_descriptor_proto();
    ASSERT_GT(files.size(), 0) << symbol;
    google::protobuf::DescriptorPool pool;
    for (int i = files.size(); i-- > 0;) {  // itself first, what it imports behind it
      google::protobuf::FileDescriptorProto file;
      ASSERT_TRUE(file.ParseFromString(files[i]));
      EXPECT_NE(pool.BuildFile(file), nullptr) << file.name();
    }
    EXPECT_NE(pool.FindFileContainingSymbol(symbol), nullptr) << symbol;
    request.set_file_by_filename(pool.FindFileContainingSymbol(symbol)->name());
    EXPECT_EQ(Ask(request).file_descriptor_response().SerializeAsString(),
              response.file_descriptor_response().SerializeAsString());
  }
}

TEST(Reflection, KnowsNothingButOurFiles) {
  v1api::ServerReflectionRequest file, symbol, extension, none;
  file.set_file_by_filename("google/protobuf/descriptor.proto");
  symbol.set_file_containing_symbol("google.protobuf.FileDescriptorProto");
  extension.mutable_file_containing_extension()->set_containing_type("bulla.v1.SignRequest");
  for (const auto& request : {file, symbol, extension}) {
    EXPECT_EQ(Ask(request).error_response().error_code(), 5) << request.DebugString();
  }
  EXPECT_EQ(Ask(none).error_response().error_code(), 3);
  std::string answer;
  EXPECT_FALSE(Reflection().Answer(AsBytes(std::string_view("\xff\xff")), answer));
}

TEST(Reflection, MessagesHaveNoExtensions) {
  v1api::ServerReflectionRequest request;
  request.set_all_extension_numbers_of_type("bulla.v1.SignRequest");
  const auto answer = Ask(request).all_extension_numbers_response();
  EXPECT_EQ(answer.base_type_name(), "bulla.v1.SignRequest");
  EXPECT_EQ(answer.extension_number_size(), 0);
  request.set_all_extension_numbers_of_type("bulla.v1.Nothing");
  EXPECT_EQ(Ask(request).error_response().error_code(), 5);
}

}  // namespace
}  // namespace bulla
