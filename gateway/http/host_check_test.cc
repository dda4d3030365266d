#include "gateway/http/host_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>

namespace bulla {
namespace {

using ::testing::HasSubstr;

HttpRequest RequestTo(const std::string& authority) {
  HttpRequest request;
  request.has_authority = true;
  request.authority = authority;
  return request;
}

TEST(HostCheck, RefusalNamesTheHostAndTheSetting) {
  HttpRefusal refusal = CheckHost(HostRules(), RequestTo("evil.example:8080"));
  EXPECT_EQ(refusal.status, 421);
  EXPECT_THAT(refusal.error.message, HasSubstr("Host: got 'evil.example:8080'"));
  EXPECT_THAT(refusal.error.message, HasSubstr("allowed_hosts"));
  EXPECT_EQ(CheckHost(HostRules(), RequestTo("")).status, 421) << "a Host that says nothing";
  EXPECT_FALSE(CheckHost(HostRules(), HttpRequest()).any()) << "HTTP/1.0 without Host";
}

int StatusOfOrigin(const std::string& origin, const std::string& authority) {
  HttpRequest request = RequestTo(authority);
  request.has_origin = true;
  request.origin = origin;
  return CheckSameOrigin(request).status;
}

TEST(SameOrigin, OnlyTheServersOwnOriginChangesSomething) {
  EXPECT_EQ(StatusOfOrigin("http://localhost:8080", "localhost:8080"), 0);
  EXPECT_EQ(StatusOfOrigin("http://localhost", "LOCALHOST:80"), 0);
  EXPECT_EQ(StatusOfOrigin("https://sign.example.com", "sign.example.com"), 0);
  EXPECT_EQ(StatusOfOrigin("https://sign.example.com", "sign.example.com:443"), 0);
  EXPECT_EQ(StatusOfOrigin("http://[::1]:8080", "[::1]:8080"), 0);
  for (const char* other : {"http://localhost:8081", "http://localhost", "https://localhost:80",
                            "http://127.0.0.1:8080", "http://evil.example", "null", "",
                            "localhost:8080", "file://localhost:8080", "http://localhost:8080/",
                            "http://a@localhost:8080", "http://localhost:8080.evil.example"}) {
    EXPECT_EQ(StatusOfOrigin(other, "localhost:8080"), 403) << other;
  }
  EXPECT_EQ(StatusOfOrigin("http://", ""), 403);
}

TEST(SameOrigin, WhatABrowserMarksAsAnotherSitesChangesNothing) {
  HttpRequest request = RequestTo("localhost:8080");
  EXPECT_EQ(CheckSameOrigin(request).status, 0) << "no browser, no mark";
  request.has_fetch_site = true;
  for (const char* own : {"same-origin", "none"}) {
    request.fetch_site = own;
    EXPECT_EQ(CheckSameOrigin(request).status, 0) << own;
  }
  for (const char* other : {"cross-site", "same-site", "", "Same-Origin", "same-origin, none"}) {
    request.fetch_site = other;
    EXPECT_EQ(CheckSameOrigin(request).status, 403) << other;
  }
}

}  // namespace
}  // namespace bulla
