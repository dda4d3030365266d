#include "cli/command_line.h"

#include <arpa/inet.h>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sstream>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <fcntl.h>

#include "base/fd.h"
#include "cli/endpoints.h"
#include "tests/fakes/loopback_listener.h"

namespace bulla {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

// Secret key 1 and SHA-256 of "Satoshi Nakamoto", a published RFC 6979 vector.
constexpr const char* kPublicKey =
    "0x0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
constexpr const char* kDigest =
    "0xa0dc65ffca799873cbea0ac274015b9526505daaaed385155425f7337704883e";
constexpr const char* kSignature =
    "0x934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
    "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5";
constexpr const char* kKeyId = "0190a7c0-0000-7000-8000-000000000001";

std::string KeyJson() {
  return std::string(R"({"keyId":")") + kKeyId + R"(","publicKey":")" + kPublicKey +
         R"(","address":"0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"})";
}

std::string HttpAnswer(const std::string& status, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nConnection: close\r\n\r\n" + body;
}

// Gives each connection the next of its answers, whatever is asked, and keeps the requests. An
// empty answer means silence: the connection stays open until the client gives up.
class FakeService {
 public:
  explicit FakeService(std::vector<std::string> answers, LoopbackListener listener = {})
      : answers_(std::move(answers)), listener_(std::move(listener)) {
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeService() { Requests(); }

  std::string url() const { return listener_.url(); }

  // What was asked so far. Ends the service.
  const std::vector<std::string>& Requests() {
    ::shutdown(listener_.fd.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    return requests_;
  }

 private:
  void Serve() {
    for (const std::string& answer : answers_) {
      UniqueFd connection(::accept4(listener_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection.valid()) return;
      requests_.push_back(ReadRequest(connection.get()));
      if (answer.empty()) {
        char byte = 0;
        while (::read(connection.get(), &byte, 1) > 0) continue;
      }
      EXPECT_EQ(::send(connection.get(), answer.data(), answer.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(answer.size()));
    }
  }

  // Headers, and as much of a body as Content-Length says.
  static std::string ReadRequest(int fd) {
    std::string request;
    std::size_t wanted = std::string::npos;
    char byte = 0;
    while (request.size() < wanted && ::read(fd, &byte, 1) == 1) {
      request += byte;
      if (wanted != std::string::npos || !request.ends_with("\r\n\r\n")) continue;
      std::size_t length = request.find("Content-Length: ");
      wanted = request.size();
      if (length != std::string::npos) wanted += std::stoul(request.substr(length + 16));
    }
    return request;
  }

  const std::vector<std::string> answers_;
  LoopbackListener listener_;
  std::vector<std::string> requests_;  // the thread's until it is joined
  std::thread thread_;
};

struct Outcome {
  ExitCode exit = ExitCode::kOk;
  std::string out;
  std::string err;
};

Outcome RunBulla(std::vector<const char*> arguments, const Surroundings& surroundings = {}) {
  arguments.insert(arguments.begin(), "bulla");
  std::ostringstream out;
  std::ostringstream err;
  ExitCode exit = RunCommandLine(static_cast<int>(arguments.size()), arguments.data(), surroundings,
                                 Console{.out = out, .err = err, .json = false});
  return {exit, out.str(), err.str()};
}

// Command lines, one for each command that prints an answer of the service.
struct Printing {
  std::vector<const char*> arguments;
  std::string answer;
};

Outcome RunBullaOn(std::ostream& out, int out_fd, std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "bulla");
  std::ostringstream err;
  ExitCode exit = RunCommandLine(static_cast<int>(arguments.size()), arguments.data(), {},
                                 Console{.out = out, .err = err, .json = false, .out_fd = out_fd});
  return {exit, {}, err.str()};
}

TEST(CommandLine, WhatCannotBeWrittenIsNoSuccess) {
  for (const Printing& printing : {Printing{{"create"}, KeyJson()},
                                   {{"create", "--json"}, KeyJson()},
                                   {{"keys", kKeyId}, KeyJson()},
                                   {{"verify", kKeyId, kDigest, kSignature}, KeyJson()}}) {
    FakeService service({HttpAnswer("200 OK", printing.answer)});
    const std::string url = service.url();
    std::vector<const char*> arguments = printing.arguments;
    arguments.insert(arguments.end(), {"--url", url.c_str()});
    std::ofstream full("/dev/full");
    Outcome outcome = RunBullaOn(full, -1, arguments);
    EXPECT_EQ(outcome.exit, ExitCode::kOutputLost) << arguments[0];
    EXPECT_THAT(outcome.err, HasSubstr("ENOSPC"));
    if (std::string_view(arguments[0]) == "create") {
      EXPECT_THAT(outcome.err, HasSubstr(kKeyId));
    }
  }
}

TEST(CommandLine, NoKeyIsMadeWhereItsIdCannotBeWritten) {
  FakeService service({HttpAnswer("200 OK", KeyJson())});
  const std::string url = service.url();
  UniqueFd read_only(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::ostringstream out;
  Outcome outcome = RunBullaOn(out, read_only.get(), {"create", "--url", url.c_str()});
  EXPECT_EQ(outcome.exit, ExitCode::kOutputLost);
  EXPECT_THAT(outcome.err, HasSubstr("no key was made"));
  EXPECT_TRUE(service.Requests().empty());
}

TEST(CommandLine, APathInFrontIsAsked) {
  FakeService service({HttpAnswer("200 OK", KeyJson())});
  const std::string url = service.url() + "/signer/";
  EXPECT_EQ(RunBulla({"create", "--url", url.c_str()}).exit, ExitCode::kOk);
  ASSERT_EQ(service.Requests().size(), 1u);
  EXPECT_THAT(service.Requests()[0], StartsWith("POST /signer/create HTTP/1.1\r\n"));
}

TEST(CommandLine, ListenersThatCannotBeAreAWrongCommandLine) {
  for (const char* option : {"--http", "--grpc", "--admin"}) {
    Outcome outcome = RunBulla({"dev", option, ":8080"});
    EXPECT_EQ(outcome.exit, ExitCode::kUsage);
    EXPECT_THAT(outcome.err, HasSubstr("host is missing"));
  }
  EXPECT_EQ(RunBulla({"dev", "--data", ""}).exit, ExitCode::kUsage);
}

TEST(CommandLine, CreatePostsAndPrintsTheKey) {
  FakeService service({HttpAnswer("200 OK", KeyJson())});
  Outcome outcome =
      RunBulla({"create", "--url", service.url().c_str(), "--idempotency-key", "order-17"});
  EXPECT_EQ(outcome.exit, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr(kKeyId));
  ASSERT_EQ(service.Requests().size(), 1u);
  EXPECT_THAT(service.Requests()[0], StartsWith("POST /create HTTP/1.1\r\n"));
  EXPECT_THAT(service.Requests()[0], HasSubstr("Idempotency-Key: order-17\r\n"));
}

TEST(CommandLine, SignSendsTheDigestAndPrintsTheSignature) {
  FakeService service({HttpAnswer("200 OK", std::string(R"({"signature":")") + kSignature +
                                                R"(","recoveryId":1,"der":"0x30"})")});
  Outcome outcome = RunBulla({"sign", kKeyId, kDigest, "--der", "--url", service.url().c_str()});
  EXPECT_EQ(outcome.exit, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr(kSignature));
  EXPECT_THAT(service.Requests()[0], HasSubstr(std::string(R"({"keyId":")") + kKeyId +
                                               R"(","digest":")" + kDigest + R"(","der":true})"));
}

TEST(CommandLine, JsonIsTheServicesOwnAnswer) {
  FakeService service({HttpAnswer("200 OK", KeyJson())});
  Outcome outcome = RunBulla({"keys", kKeyId, "--json", "--url", service.url().c_str()});
  EXPECT_EQ(outcome.out, KeyJson() + "\n");
  EXPECT_THAT(service.Requests()[0], StartsWith(std::string("GET /keys/") + kKeyId + " "));
}

TEST(CommandLine, ARefusalAndAnOverloadEndDifferently) {
  FakeService service(
      {HttpAnswer("404 Not Found",
                  R"({"error":{"code":"INVALID_KEY","message":"no such key","requestId":"r1"}})"),
       HttpAnswer("429 Too Many Requests",
                  R"({"error":{"code":"RETRY_LATER","message":"full","requestId":"r2",)"
                  R"("retryAfterMs":70}})")});
  std::string url = service.url();
  Outcome refused = RunBulla({"sign", kKeyId, kDigest, "--url", url.c_str()});
  EXPECT_EQ(refused.exit, ExitCode::kRefused);
  EXPECT_THAT(refused.err, HasSubstr("INVALID_KEY: no such key"));
  EXPECT_TRUE(refused.out.empty());
  EXPECT_EQ(RunBulla({"sign", kKeyId, kDigest, "--url", url.c_str()}).exit, ExitCode::kTryAgain);
}

TEST(CommandLine, VerifyTellsAGoodSignatureFromABadOne) {
  Outcome good = RunBulla({"verify", "--public-key", kPublicKey, kDigest, kSignature});
  EXPECT_EQ(good.exit, ExitCode::kOk) << good.err;
  std::string other = kDigest;
  other.back() = '0';
  Outcome bad =
      RunBulla({"verify", "--public-key", kPublicKey, other.c_str(), kSignature, "--json"});
  EXPECT_EQ(bad.exit, ExitCode::kFailed);
  EXPECT_THAT(bad.out, HasSubstr(R"("valid":false)"));
}

TEST(CommandLine, VerifyAsksTheServiceForThePublicKey) {
  FakeService service({HttpAnswer("200 OK", KeyJson())});
  Outcome outcome =
      RunBulla({"verify", kKeyId, kDigest, kSignature, "--url", service.url().c_str()});
  EXPECT_EQ(outcome.exit, ExitCode::kOk) << outcome.err;
}

TEST(CommandLine, AFullPageOfKeysSaysHowToGoOn) {
  FakeService service({HttpAnswer("200 OK", R"({"keys":[)" + KeyJson() + "]}")});
  Outcome outcome =
      RunBulla({"keys", "--limit", "1", "--after", kKeyId, "--admin-url", service.url().c_str()});
  EXPECT_EQ(outcome.exit, ExitCode::kOk) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(std::string("--after ") + kKeyId));
  EXPECT_THAT(service.Requests()[0], StartsWith(std::string("GET /keys?limit=1&after=") + kKeyId));
}

TEST(CommandLine, StatusOfAServiceThatIsNotReadyAsksToTryAgain) {
  FakeService service({HttpAnswer("503 Service Unavailable", "not ready: no enclave\n"),
                       HttpAnswer("200 OK", R"({"enclaves":[]})")});
  Outcome outcome = RunBulla({"status", "--admin-url", service.url().c_str()});
  EXPECT_EQ(outcome.exit, ExitCode::kTryAgain) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("ready: no"));
}

TEST(CommandLine, StatusSaysWhatAnEnclaveHoldsAndWhatItRefused) {
  FakeService service(
      {HttpAnswer("200 OK", R"({"ready":true,"reasons":[]})"),
       HttpAnswer("200 OK", R"({"ready":true,"unlocksPending":4,"enclaves":[{"address":"unix:/e",)"
                            R"("connected":true,"signatures":1,"keysWarm":11,"lockedBytes":1536,)"
                            R"("policyRefused":"dek.ttl_hard: too long"}]})")});
  Outcome outcome = RunBulla({"status", "--admin-url", service.url().c_str()});
  EXPECT_EQ(outcome.exit, ExitCode::kOk) << outcome.err;
  for (const char* part :
       {"unlocks pending: 4, ", "unix:/e", "11 warm", "1.5 KiB", "dek.ttl_hard: too long"}) {
    EXPECT_THAT(outcome.out, HasSubstr(part));
  }
}

// A Unix socket in a folder of its own.
class SocketFolder {
 public:
  SocketFolder() {
    char name[] = "/tmp/bulla-cli-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~SocketFolder() { std::filesystem::remove_all(folder_); }
  std::string path() const { return folder_ + "/admin.sock"; }

 private:
  std::string folder_;
};

TEST(CommandLine, EnclavesAreListedAndChanged) {
  const SocketFolder folder;
  const std::string done = HttpAnswer("200 OK", R"({"address":"unix:/x","lasts":"a while"})");
  struct Case {
    std::vector<const char*> arguments;
    const char* request;
    const char* body;
  };
  for (const Case& c : std::vector<Case>{
           {{"add", "unix:/x"}, "POST /enclaves ", R"({"address":"unix:/x"})"},
           {{"add", "unix:/x", "--weight", "50"},
            "POST /enclaves ",
            R"({"address":"unix:/x","weight":50})"},
           {{"weight", "unix:/x", "7"}, "PATCH /enclaves ", R"({"address":"unix:/x","weight":7})"},
           {{"drain", "unix:/x"}, "PATCH /enclaves ", R"({"address":"unix:/x","weight":0})"},
           {{"remove", "unix:/x"}, "DELETE /enclaves ", R"({"address":"unix:/x"})"}}) {
    std::filesystem::remove(folder.path());
    FakeService service({done}, LoopbackListener(folder.path()));
    const std::string path = folder.path();
    std::vector<const char*> arguments = {"enclaves"};
    arguments.insert(arguments.end(), c.arguments.begin(), c.arguments.end());
    arguments.insert(arguments.end(), {"--admin-socket", path.c_str()});
    Outcome outcome = RunBulla(arguments);
    EXPECT_EQ(outcome.exit, ExitCode::kOk) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("this lasts a while"));
    ASSERT_EQ(service.Requests().size(), 1u);
    EXPECT_THAT(service.Requests()[0], StartsWith(c.request));
    EXPECT_THAT(service.Requests()[0], EndsWith(std::string("\r\n\r\n") + c.body));
    EXPECT_THAT(service.Requests()[0], HasSubstr("Content-Type: application/json\r\n"));
  }
  const std::string list =
      R"({"enclaves":[{"address":"unix:/x","connected":true,"available":true}]})";
  for (const char* verb : {"list", "--json"}) {
    FakeService service({HttpAnswer("200 OK", list)});
    Outcome outcome = RunBulla({"enclaves", verb, "--admin-url", service.url().c_str()});
    EXPECT_EQ(outcome.exit, ExitCode::kOk) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("unix:/x"));
    EXPECT_THAT(service.Requests()[0], StartsWith("GET /enclaves "));
  }
}

TEST(CommandLine, ARefusedChangeOfTheEnclavesSaysWhy) {
  const SocketFolder folder;
  FakeService service(
      {HttpAnswer(
          "404 Not Found",
          R"({"error":{"code":"NOT_FOUND","message":"there is none","requestId":"admin"}})")},
      LoopbackListener(folder.path()));
  Outcome outcome =
      RunBulla({"enclaves", "remove", "unix:/x", "--admin-socket", folder.path().c_str()});
  EXPECT_EQ(outcome.exit, ExitCode::kRefused);
  EXPECT_THAT(outcome.err, HasSubstr("NOT_FOUND: there is none"));
}

TEST(CommandLine, ASocketThatIsNotThereOrCannotBeIsNamed) {
  const SocketFolder folder;
  const std::string path = folder.path();
  Outcome none = RunBulla({"enclaves", "drain", "unix:/x"}, {.admin_socket = path.c_str()});
  EXPECT_EQ(none.exit, ExitCode::kNothingThere);
  EXPECT_THAT(none.err, HasSubstr("unix:" + path));
  EXPECT_THAT(none.err, HasSubstr("$BULLA_ADMIN_SOCKET"));
  const std::string long_path = "/" + std::string(107, 'x');
  Outcome too_long =
      RunBulla({"enclaves", "drain", "unix:/x", "--admin-socket", long_path.c_str()});
  EXPECT_EQ(too_long.exit, ExitCode::kUsage);
  EXPECT_THAT(too_long.err, HasSubstr("1 to 107 bytes, this has 108"));
}

TEST(CommandLine, WhereNothingRunsItSaysHowToStartOne) {
  // A port that was free a moment ago, and that nobody listens on.
  std::string url = FakeService({}).url();
  Outcome outcome =
      RunBulla({"create"}, {.url = url.c_str(), .admin_url = nullptr, .program_dir = {}});
  EXPECT_EQ(outcome.exit, ExitCode::kNothingThere);
  EXPECT_THAT(outcome.err, HasSubstr("nothing is running at " + url));
  EXPECT_THAT(outcome.err, HasSubstr("$BULLA_URL"));
  EXPECT_THAT(outcome.err, HasSubstr("bulla dev"));
}

TEST(CommandLine, ASilentServiceIsGivenUpOn) {
  FakeService service({""});
  Outcome outcome = RunBulla({"create", "--timeout-ms", "30", "--url", service.url().c_str()});
  EXPECT_EQ(outcome.exit, ExitCode::kNothingThere);
  EXPECT_THAT(outcome.err, HasSubstr("no answer in time"));
}

TEST(CommandLine, AnswersThatMakeNoSenseAreNoSuccess) {
  FakeService service({"SSH-2.0-OpenSSH_9.2\r\n\r\n", HttpAnswer("200 OK", "<html>"),
                       HttpAnswer("500 Oops", "<html>")});
  std::string url = service.url();
  for (int i = 0; i < 3; ++i) {
    Outcome outcome = RunBulla({"create", "--url", url.c_str()});
    EXPECT_NE(outcome.exit, ExitCode::kOk) << i;
    EXPECT_TRUE(outcome.out.empty()) << i;
  }
}

TEST(CommandLine, MistakesOnTheCommandLineAreUsageErrors) {
  for (const std::vector<const char*>& arguments : std::vector<std::vector<const char*>>{
           {},
           {"dance"},
           {"sign", kKeyId},
           {"keys", "../../etc"},
           {"keys", "--limit", "0"},
           {"keys", "--limit", "1001"},
           {"create", "--url", "https://example.org"},
           {"verify", kDigest, kSignature},
           {"verify", "--public-key", kPublicKey, kKeyId, kDigest, kSignature},
           {"verify", "--public-key", "0x02", kDigest, kSignature},
           {"verify", "--public-key", kPublicKey, "0x00", kSignature},
           {"verify", "--public-key", kPublicKey, kDigest, "0x00"},
           {"enclaves", "dance"},
           {"enclaves", "add"},
           {"enclaves", "weight", "unix:/x"},
           {"enclaves", "weight", "unix:/x", "1001"},
           {"enclaves", "weight", "unix:/x", "-1"},
           {"enclaves", "remove", "unix:/x", "7"},
           {"dev", "--enclaves", "0"},
           {"dev", "--enclaves", "17"}}) {
    EXPECT_EQ(RunBulla(arguments).exit, ExitCode::kUsage) << testing::PrintToString(arguments);
  }
}

TEST(CommandLine, WhatSeveralCommandsTakeMayStandInFrontOfTheCommand) {
  FakeService service(std::vector<std::string>(3, HttpAnswer("200 OK", KeyJson())));
  const std::string url = service.url();
  EXPECT_EQ(RunBulla({"--json", "--url", url.c_str(), "create"}).out, KeyJson() + "\n");
  EXPECT_EQ(RunBulla({"--url", "http://127.0.0.1:1", "create", "--url", url.c_str()}).exit,
            ExitCode::kOk)
      << "what stands behind the command counts";

  // The data directory, whose endpoints.json says where the service is.
  const std::filesystem::path folder = testing::TempDir() + "in_front_of_the_command";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "endpoints.json")
      << R"({"http":")" << url.substr(std::string("http://").size()) << R"("})";
  EXPECT_EQ(RunBulla({"--data", folder.c_str(), "create"}).exit, ExitCode::kOk);
  std::filesystem::remove_all(folder);
}

TEST(CommandLine, WhatStandsInFrontOfACommandThatDoesNotTakeItIsNotLost) {
  Outcome outcome = RunBulla({"--timeout-ms", "5", "dev"});
  EXPECT_EQ(outcome.exit, ExitCode::kUsage);
  EXPECT_THAT(outcome.err,
              HasSubstr("--timeout-ms is not for `bulla dev`; next: bulla dev --help"));
  EXPECT_EQ(RunBulla({"--admin-socket", "/x", "create"}).exit, ExitCode::kUsage);
}

TEST(CommandLine, AWrongCommandLineSaysWhereToLook) {
  EXPECT_THAT(RunBulla({}).err, EndsWith("\n  next: bulla --help\n"));
  EXPECT_THAT(RunBulla({"create", "--dta", "x"}).err,
              StartsWith("bulla create: The following argument"));
  EXPECT_THAT(RunBulla({"enclaves", "add"}).err, EndsWith("\n  next: bulla enclaves add --help\n"));
}

TEST(CommandLine, EveryCommandHasHelpWithExamples) {
  for (const char* command : {"dev", "create", "sign", "verify", "keys", "status", "enclaves"}) {
    Outcome outcome = RunBulla({command, "--help"});
    EXPECT_EQ(outcome.exit, ExitCode::kOk) << command;
    EXPECT_THAT(outcome.out, HasSubstr("Examples:")) << command;
  }
}

}  // namespace
}  // namespace bulla
