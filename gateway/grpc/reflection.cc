#include "gateway/grpc/reflection.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include "bulla/v1/signer.pb.h"
#include "gateway/grpc/connection.h"
#include "gateway/grpc/worker.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1/reflection.pb.h"

namespace bulla {
namespace {

namespace pb = google::protobuf;
namespace v1api = grpc::reflection::v1;
using Code = absl::StatusCode;

// `file` and what it imports, each once.
void CollectFiles(const pb::FileDescriptor& file, std::vector<const pb::FileDescriptor*>& files) {
  if (std::find(files.begin(), files.end(), &file) != files.end()) return;
  files.push_back(&file);
  for (int i = 0; i < file.dependency_count(); ++i) CollectFiles(*file.dependency(i), files);
}

// The call: an answer for each request, the next when the last has left. Confined to its
// connection's thread.
class ReflectionCall final : public http2::GrpcHandler, public GrpcStandingCall {
 public:
  ReflectionCall(GrpcConnection& connection, http2::StreamId stream, const Reflection& reflection)
      : connection_(connection), stream_(stream), reflection_(reflection) {
    connection_.worker().Add(*this);
  }
  ~ReflectionCall() override { connection_.worker().Remove(static_cast<GrpcStandingCall&>(*this)); }
  ReflectionCall(const ReflectionCall&) = delete;
  ReflectionCall& operator=(const ReflectionCall&) = delete;

  // GrpcHandler
  void OnMessage(ByteSpan message) override {
    std::string response;
    if (!reflection_.Answer(message, response)) {
      return connection_.Finish(stream_,
                                {Code::kInvalidArgument, "no ServerReflectionRequest", ""});
    }
    writing_ = true;
    connection_.Send(stream_, AsBytes(response));
  }
  void OnHalfClose() override { connection_.Finish(stream_, http2::GrpcStatus{}); }
  void OnWritten() override {
    writing_ = false;
    connection_.Resume(stream_);
  }
  bool WantsMessage() const override { return !writing_; }

  // GrpcStandingCall
  void OnDrain() override {
    connection_.Finish(stream_, {Code::kUnavailable, "this gateway is shutting down", ""});
  }

 private:
  GrpcConnection& connection_;
  const http2::StreamId stream_;
  const Reflection& reflection_;
  bool writing_ = false;
};

}  // namespace

Reflection::Reflection() {
  std::vector<const pb::FileDescriptor*> files;
  for (const pb::FileDescriptor* ours :
       {v1::SignRequest::descriptor()->file(), google::rpc::Status::descriptor()->file(),
        grpc::health::v1::HealthCheckRequest::descriptor()->file(),
        Request::descriptor()->file()}) {
    CollectFiles(*ours, files);
  }
  for (const pb::FileDescriptor* file : files) AddFile(*file);
}

void Reflection::AddFile(const pb::FileDescriptor& file) {
  File& entry = files_[file.name()];
  pb::FileDescriptorProto proto;
  file.CopyTo(&proto);
  proto.SerializeToString(&entry.bytes);
  std::vector<const pb::FileDescriptor*> needed;
  CollectFiles(file, needed);
  for (const pb::FileDescriptor* each : needed) entry.names.push_back(each->name());

  for (int i = 0; i < file.message_type_count(); ++i) AddMessage(*file.message_type(i));
  for (int i = 0; i < file.enum_type_count(); ++i) AddEnum(*file.enum_type(i));
  for (int i = 0; i < file.service_count(); ++i) {
    const pb::ServiceDescriptor& service = *file.service(i);
    services_.push_back(service.full_name());
    symbols_[service.full_name()] = file.name();
    for (int j = 0; j < service.method_count(); ++j) {
      symbols_[service.method(j)->full_name()] = file.name();
    }
  }
}

void Reflection::AddMessage(const pb::Descriptor& message) {
  const std::string& file = message.file()->name();
  symbols_[message.full_name()] = file;
  messages_.push_back(message.full_name());
  for (int i = 0; i < message.field_count(); ++i) symbols_[message.field(i)->full_name()] = file;
  for (int i = 0; i < message.oneof_decl_count(); ++i) {
    symbols_[message.oneof_decl(i)->full_name()] = file;
  }
  for (int i = 0; i < message.nested_type_count(); ++i) AddMessage(*message.nested_type(i));
  for (int i = 0; i < message.enum_type_count(); ++i) AddEnum(*message.enum_type(i));
}

void Reflection::AddEnum(const pb::EnumDescriptor& enumeration) {
  symbols_[enumeration.full_name()] = enumeration.file()->name();
  for (int i = 0; i < enumeration.value_count(); ++i) {
    symbols_[enumeration.value(i)->full_name()] = enumeration.file()->name();
  }
}

bool Reflection::Answer(ByteSpan bytes, std::string& out) const {
  Request request;
  if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return false;
  Response response;
  Answer(request, response);
  response.set_valid_host(request.host());
  *response.mutable_original_request() = std::move(request);
  response.SerializeToString(&out);
  return true;
}

void Reflection::Answer(const Request& request, Response& response) const {
  const auto refuse = [&](Code code, const char* message) {
    response.mutable_error_response()->set_error_code(static_cast<int>(code));
    response.mutable_error_response()->set_error_message(message);
  };
  const auto give_file = [&](const std::string& name) {
    const auto file = files_.find(name);
    if (file == files_.end()) return refuse(Code::kNotFound, "there is no such file");
    for (const std::string& each : file->second.names) {
      response.mutable_file_descriptor_response()->add_file_descriptor_proto(
          files_.find(each)->second.bytes);
    }
  };
  switch (request.message_request_case()) {
    case Request::kListServices:
      for (const std::string& service : services_) {
        response.mutable_list_services_response()->add_service()->set_name(service);
      }
      break;
    case Request::kFileByFilename:
      give_file(request.file_by_filename());
      break;
    case Request::kFileContainingSymbol: {
      const auto file = symbols_.find(request.file_containing_symbol());
      if (file == symbols_.end()) return refuse(Code::kNotFound, "there is no such symbol");
      give_file(file->second);
      break;
    }
    case Request::kFileContainingExtension:
      refuse(Code::kNotFound, "there are no extensions");
      break;
    case Request::kAllExtensionNumbersOfType: {
      const std::string& type = request.all_extension_numbers_of_type();
      if (std::find(messages_.begin(), messages_.end(), type) == messages_.end()) {
        return refuse(Code::kNotFound, "there is no such message");
      }
      response.mutable_all_extension_numbers_response()->set_base_type_name(type);
      break;
    }
    case Request::MESSAGE_REQUEST_NOT_SET:
      refuse(Code::kInvalidArgument, "nothing was asked for");
      break;
  }
}

void AddReflectionService(http2::GrpcMethods& methods) {
  const auto reflection = std::make_shared<const Reflection>();
  for (const char* version : {"v1", "v1alpha"}) {
    methods.AddStream(
        std::string("/grpc.reflection.") + version + ".ServerReflection/ServerReflectionInfo",
        [reflection](http2::GrpcServer& server, const http2::GrpcRequest& request) {
          return std::make_unique<ReflectionCall>(GrpcConnection::From(server), request.stream,
                                                  *reflection);
        });
  }
}

}  // namespace bulla
