// Requests for reflection: each is answered, or is none.

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "gateway/grpc/reflection.h"
#include "grpc/reflection/v1/reflection.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bulla::Reflection reflection;
  std::string answer;
  if (!reflection.Answer({data, size}, answer)) return 0;
  grpc::reflection::v1::ServerReflectionResponse response;
  BULLA_CHECK(response.ParseFromString(answer), "an answer can be read");
  BULLA_CHECK(response.message_response_case() != 0, "an answer says something");
  return 0;
}
