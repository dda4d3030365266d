#include "base/host_port.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "base/http_url.h"

namespace bulla {
namespace {

struct Taken {
  const char* text;
  const char* host;
  int port;
};

TEST(HostPort, TakesNamesAndAddressesWithAPort) {
  for (const Taken& taken :
       {Taken{"127.0.0.1:8080", "127.0.0.1", 8080},
        {"0.0.0.0:1", "0.0.0.0", 1},
        {"[::]:65535", "::", 65535},
        {"[::1]:0", "::1", 0},
        {"[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", 80},
        {"[fe80::1%eth0]:80", "fe80::1%eth0", 80},
        {"localhost:8080", "localhost", 8080},
        {"kms.eu-central-1.amazonaws.com:443", "kms.eu-central-1.amazonaws.com", 443},
        {"host_1.:80", "host_1.", 80},
        {"3com.com:00080", "3com.com", 80}}) {
    absl::StatusOr<HostPort> parsed = ParseHostPort(taken.text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->host, taken.host);
    EXPECT_EQ(parsed->port, taken.port);
    EXPECT_EQ(*ParseHostPort(parsed->ToString()), *parsed);
  }
}

struct Refused {
  const char* text;
  const char* says;
};

TEST(HostPort, RefusesTheRestAndSaysWhy) {
  for (const Refused& refused : {Refused{"", "port is missing"},
                                 {"8080", "port is missing"},
                                 {"localhost", "port is missing"},
                                 {"[::1]", "port is missing"},
                                 {":8080", "0.0.0.0:8080"},
                                 {"::1:8080", "in brackets"},
                                 {"[::1:8080", "in brackets"},
                                 {"[127.0.0.1]:80", "no IPv6 address"},
                                 {"[localhost]:80", "no IPv6 address"},
                                 {"[]:80", "no IPv6 address"},
                                 {"[fe80::1%]:80", "no IPv6 address"},
                                 {"[fe80::1%a/b]:80", "no IPv6 address"},
                                 {"127.1:80", "no name and no IPv4"},
                                 {"256.0.0.1:80", "no name and no IPv4"},
                                 {"2130706433:80", "no name and no IPv4"},
                                 {"-o:80", "no name and no IPv4"},
                                 {"a b:80", "no name and no IPv4"},
                                 {"*:80", "no name and no IPv4"},
                                 {"a@b:80", "no name and no IPv4"},
                                 {"a/b:80", "no name and no IPv4"},
                                 {"a\r\nX: y:80", "in brackets"},
                                 {"localhost:", "a number from 0"},
                                 {"localhost:x", "a number from 0"},
                                 {"localhost:+80", "a number from 0"},
                                 {"localhost:-1", "a number from 0"},
                                 {"localhost: 80", "a number from 0"},
                                 {"localhost:80/", "a number from 0"},
                                 {"localhost:65536", "a number from 0"},
                                 {"http://localhost:80", "URL"}}) {
    absl::Status status = ParseHostPort(refused.text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << refused.text;
    EXPECT_NE(std::string(status.message()).find(refused.says), std::string::npos) << status;
    EXPECT_NE(std::string(status.message()).find("want HOST:PORT"), std::string::npos) << status;
  }
  EXPECT_FALSE(ParseHostPort(std::string(254, 'a') + ":80").ok());
  EXPECT_TRUE(ParseHostPort(std::string(253, 'a') + ":80").ok());
  EXPECT_FALSE(ParseHostPort(std::string_view("127.0.0.1\0:80", 13)).ok());
}

TEST(HostPort, ATargetHasAPort) {
  EXPECT_TRUE(ParseTarget("localhost:1").ok());
  EXPECT_FALSE(ParseTarget("localhost:0").ok());
}

TEST(HostPort, ListenersTakeAddressesAndLocalhost) {
  struct Listener {
    const char* text;
    int family;
    bool loopback;
  };
  for (const Listener& listener : {Listener{"127.0.0.1:0", AF_INET, true},
                                   {"localhost:80", AF_INET, true},
                                   {"127.9.9.9:80", AF_INET, true},
                                   {"0.0.0.0:80", AF_INET, false},
                                   {"192.0.2.1:80", AF_INET, false},
                                   {"[::1]:80", AF_INET6, true},
                                   {"[::]:80", AF_INET6, false}}) {
    absl::StatusOr<SocketAddress> address = ParseListenAddress(listener.text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->family(), listener.family) << listener.text;
    EXPECT_EQ(address->is_loopback(), listener.loopback) << listener.text;
  }
  EXPECT_EQ(ParseListenAddress("localhost:0080")->ToString(), "127.0.0.1:80");
  EXPECT_EQ(ParseListenAddress("[0:0::01]:80")->ToString(), "[::1]:80");
  const auto v6 = *ParseListenAddress("[::1]:258");
  EXPECT_EQ(reinterpret_cast<const sockaddr_in6*>(&v6.storage)->sin6_port, htons(258));
  for (const char* text : {"example.com:80", ":80", "80", "::1:80"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseListenAddress(text).status())) << text;
  }
}

TEST(HttpUrl, TakesWhatCurlTakes) {
  struct Url {
    const char* text;
    const char* means;
  };
  for (const Url& url : {Url{"http://localhost:8080", "http://localhost:8080"},
                         {"http://localhost:8080/", "http://localhost:8080"},
                         {"http://localhost:8080///", "http://localhost:8080"},
                         {"HTTP://localhost:8080", "http://localhost:8080"},
                         {"localhost:8080", "http://localhost:8080"},
                         {"localhost", "http://localhost:80"},
                         {"http://signer.internal", "http://signer.internal:80"},
                         {"http://signer.internal:/", "http://signer.internal:80"},
                         {"http://10.0.0.7:8080/signer/", "http://10.0.0.7:8080/signer"},
                         {"10.0.0.7/a/b%20c", "http://10.0.0.7:80/a/b%20c"},
                         {"http://[::1]:9091", "http://[::1]:9091"},
                         {"[::1]", "http://[::1]:80"}}) {
    absl::StatusOr<HttpUrl> parsed = ParseHttpUrl(url.text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->ToString(), url.means) << url.text;
    EXPECT_EQ(*ParseHttpUrl(parsed->ToString()), *parsed) << url.text;
  }
}

TEST(HttpUrl, RefusesWhatCannotBeReachedAndSaysWhy) {
  for (const Refused& refused : {Refused{"", "names no host"},
                                 {"http://", "names no host"},
                                 {"/create", "names no host"},
                                 {"https://a:1", "TLS is not spoken"},
                                 {"HTTPS://a", "TLS is not spoken"},
                                 {"ftp://a", "only http://"},
                                 {"a:0", "port 0"},
                                 {"a:65536", "a number from 0"},
                                 {"a:1:2", "in brackets"},
                                 {"::1", "in brackets"},
                                 {"[::1]9", "in brackets"},
                                 {"http://[::1", "in brackets"},
                                 {"me:secret@a:1", "credentials"},
                                 {"a:1/?x=1", "query"},
                                 {"a:1?x=1", "query"},
                                 {"a:1#x", "query"},
                                 {"a:1/b c", "visible ASCII"},
                                 {"a b:1", "no name"},
                                 {"a\r\nX: y:1", "in brackets"},
                                 {":8080", "host is missing"}}) {
    absl::Status status = ParseHttpUrl(refused.text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << refused.text;
    EXPECT_NE(std::string(status.message()).find(refused.says), std::string::npos) << status;
  }
  EXPECT_FALSE(ParseHttpUrl(std::string(513, 'a')).ok());
}

}  // namespace
}  // namespace bulla
