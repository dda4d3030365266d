// A signing service in two processes, as an ordinary engineer would write one: an HTTP front, and
// behind a Unix socket a signer that has the keys. Bulla's topology, with the link between the two
// as it is usually written.

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <iostream>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "bench/peers/two_hop/front.h"
#include "bench/peers/two_hop/run_threads.h"
#include "bench/peers/two_hop/signer_server.h"

namespace peers {
namespace {

struct Flags {
  std::string link = "grpc";
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;
  bool no_verify = false;
};

constexpr char kExamples[] =
    "Links:\n"
    "  per-request   a new connection to the signer for each call\n"
    "  shared        one connection behind a lock: request, answer, next\n"
    "  grpc          one channel, unary calls\n"
    "Once it serves, one line: {\"http\":\"HOST:PORT\"}. SIGTERM ends it.";

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("--link", flags.link, "How the front reaches the signer")
      ->check(CLI::IsMember({"per-request", "shared", "grpc"}))
      ->capture_default_str();
  app.add_option("--host", flags.host, "Address to listen at")->capture_default_str();
  app.add_option("--port", flags.port, "Port to listen at; 0 takes a free one")
      ->capture_default_str();
  app.add_flag("--no-verify", flags.no_verify, "Do not check signatures before they leave");
  app.footer(kExamples);
}

// The child that has the keys. Forked before there are threads.
class SignerProcess {
 public:
  // Returns when it listens; aborts when it cannot.
  SignerProcess(const Flags& flags, const std::string& socket_path) {
    int ready[2];
    if (::pipe(ready) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      ServeAndExit(flags, socket_path, ready[1]);
    }
    ::close(ready[1]);
    char byte = 0;
    if (::read(ready[0], &byte, 1) != 1) std::abort();
    ::close(ready[0]);
  }
  ~SignerProcess() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  SignerProcess(const SignerProcess&) = delete;
  SignerProcess& operator=(const SignerProcess&) = delete;

 private:
  [[noreturn]] static void ServeAndExit(const Flags& flags, const std::string& socket_path,
                                        int ready) {
    KeyRing keys(!flags.no_verify);
    auto say_ready = [ready] {
      if (::write(ready, "r", 1) != 1) std::abort();
    };
    if (flags.link == "grpc") {
      ServeGrpcBlocking(socket_path, keys, say_ready);
    } else {
      ServeSocketBlocking(socket_path, keys, say_ready);
    }
    std::_Exit(0);
  }

  pid_t pid_ = -1;
};

std::unique_ptr<Link> MakeLink(const Flags& flags, boost::asio::io_context& context,
                               const std::string& socket_path) {
  if (flags.link == "per-request") return MakePerRequestLink(context, socket_path);
  if (flags.link == "shared") return MakeSharedLink(context, socket_path);
  return MakeGrpcLink(socket_path);
}

// Each connection is a file descriptor, and the usual limit is 1024.
void AllowManyConnections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void Run(const Flags& flags) {
  AllowManyConnections();
  std::string folder = (std::filesystem::temp_directory_path() / "two-hop-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) std::abort();
  const std::string socket_path = folder + "/signer";
  {
    SignerProcess signer(flags, socket_path);
    std::cerr << "signing with " << KeyRing::LibraryPath() << std::endl;
    boost::asio::io_context context(ThreadsHint());
    std::unique_ptr<Link> link = MakeLink(flags, context, socket_path);
    ServeHttpBlocking(context, *link, flags.host, flags.port, [&](std::uint16_t port) {
      std::cout << fmt::format(R"({{"http":"{}:{}"}})", flags.host, port) << std::endl;
    });
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace peers

int main(int argc, char** argv) {
  peers::Flags flags;
  CLI::App app("A peer of Bulla: an HTTP front and a signer behind a Unix socket.", "peer-two-hop");
  peers::AddFlags(app, flags);
  CLI11_PARSE(app, argc, argv);
  try {
    peers::Run(flags);
  } catch (const std::exception& error) {
    std::cerr << "peer-two-hop: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
