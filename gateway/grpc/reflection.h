#pragma once

// gRPC's server reflection, v1 and v1alpha (the same on the wire): what services there are, and the
// .proto files that say so. It knows our own files and what they import, and looks nothing up in
// protobuf's pool, which remembers every name that it was ever asked for.

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "http2/grpc_server.h"

namespace google::protobuf {
class FileDescriptor;
class Descriptor;
class EnumDescriptor;
}  // namespace google::protobuf

namespace grpc::reflection::v1 {
class ServerReflectionRequest;
class ServerReflectionResponse;
}  // namespace grpc::reflection::v1

namespace bulla {

// Immutable.
class Reflection {
 public:
  Reflection();

  // A request, serialized, and its answer, serialized. False when it is no request.
  bool Answer(ByteSpan request, std::string& response) const;

 private:
  using Request = grpc::reflection::v1::ServerReflectionRequest;
  using Response = grpc::reflection::v1::ServerReflectionResponse;

  void AddFile(const google::protobuf::FileDescriptor& file);
  void AddMessage(const google::protobuf::Descriptor& message);
  void AddEnum(const google::protobuf::EnumDescriptor& enumeration);
  void Answer(const Request& request, Response& response) const;

  // A file, serialized, and those that it needs, itself first.
  struct File {
    std::string bytes;
    std::vector<std::string> names;
  };
  std::map<std::string, File, std::less<>> files_;           // by name
  std::map<std::string, std::string, std::less<>> symbols_;  // the name of the file of each
  std::vector<std::string> services_;
  std::vector<std::string> messages_;
};

void AddReflectionService(http2::GrpcMethods& methods);

}  // namespace bulla
