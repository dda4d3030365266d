#pragma once

// How requests travel to the service.

#include <string>
#include <string_view>

namespace bulla {

enum class Protocol {
  kHttp,       // POST /sign, one request at a time on each connection
  kHttpBatch,  // POST /sign/batch, likewise
  kGrpc,       // Signer.Sign, one call at a time on each channel
  kStream,     // Signer.SignStream
};

// What counts is always a signature: a request that is due is one item, however many travel
// together.
struct Traffic {
  Protocol protocol = Protocol::kHttp;
  int connections = 100;  // sockets: a channel of gRPC has one of its own
  int batch = 32;         // items that may travel in one message, of kHttpBatch and kStream
  int streams = 1;        // on each connection, of kStream
  int messages = 4;       // under way at once on each stream, when they are full
};

constexpr bool IsGrpc(Protocol protocol) {
  return protocol == Protocol::kGrpc || protocol == Protocol::kStream;
}
constexpr bool HasBatches(Protocol protocol) {
  return protocol == Protocol::kHttpBatch || protocol == Protocol::kStream;
}

// As on the command line.
constexpr std::string_view NameOf(Protocol protocol) {
  switch (protocol) {
    case Protocol::kHttp:
      return "http";
    case Protocol::kHttpBatch:
      return "http-batch";
    case Protocol::kGrpc:
      return "grpc";
    case Protocol::kStream:
      return "stream";
  }
  return {};
}
// What is called.
constexpr std::string_view CallOf(Protocol protocol) {
  switch (protocol) {
    case Protocol::kHttp:
      return "POST /sign";
    case Protocol::kHttpBatch:
      return "POST /sign/batch";
    case Protocol::kGrpc:
      return "Signer.Sign";
    case Protocol::kStream:
      return "Signer.SignStream";
  }
  return {};
}

std::string TrafficText(const Traffic& traffic);

}  // namespace bulla
