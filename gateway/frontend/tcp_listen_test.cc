#include "gateway/frontend/tcp_listen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bulla {
namespace {

using boost::asio::ip::tcp;
using testing::AllOf;
using testing::HasSubstr;

// Whether somebody takes a connection to `host` at the listener's port.
bool Answers(const tcp::acceptor& listener, const char* host) {
  boost::asio::io_context io;
  tcp::socket socket(io);
  boost::system::error_code error;
  socket.connect({boost::asio::ip::make_address(host), listener.local_endpoint().port()}, error);
  return !error;
}

bool MachineHasV6() {
  boost::asio::io_context io;
  return ListenOn(io, *ParseListenEndpoint("[::1]:0"), false).ok();
}

TEST(TcpListen, EachWayOfSayingEverybodyMeansWhatItSays) {
  struct Row {
    const char* listen;
    bool v4;
    bool v6;
  };
  for (const Row& row : {Row{"127.0.0.1:0", true, false},
                         {"localhost:0", true, false},
                         {"0.0.0.0:0", true, false},
                         {"[::1]:0", false, true},
                         {"[::]:0", true, true}}) {
    if (row.v6 && !MachineHasV6()) continue;
    boost::asio::io_context io;
    absl::StatusOr<tcp::acceptor> listener =
        ListenOn(io, *ParseListenEndpoint(row.listen), /*share=*/false);
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_EQ(Answers(*listener, "127.0.0.1"), row.v4) << row.listen;
    EXPECT_EQ(Answers(*listener, "::1"), row.v6) << row.listen;
  }
}

TEST(TcpListen, ATakenPortIsNamedWithItsErrnoAndWhatToDo) {
  boost::asio::io_context io;
  tcp::acceptor first = *ListenOn(io, *ParseListenEndpoint("127.0.0.1:0"), /*share=*/false);
  absl::Status status = ListenOn(io, first.local_endpoint(), /*share=*/false).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(AddressOf(first)), HasSubstr("(EADDRINUSE)"), HasSubstr("next: ")));
}

}  // namespace
}  // namespace bulla
