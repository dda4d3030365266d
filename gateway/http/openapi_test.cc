// Which question this answers: does api/openapi.yaml describe the server that is built here? Paths
// and methods are asked of a running server, fields are compared with what it answers, and examples
// are sent to it.

#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <memory>
#include <set>
#include <string>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <regex.h>
#include <yaml-cpp/yaml.h>

#include "base/limits.h"
#include "gateway/http/server.h"
#include "tests/fakes/front_end_test.h"
#include "tests/fakes/raw_http_client.h"

namespace bulla {
namespace {

namespace json = boost::json;
using Names = std::set<std::string>;

// Whether `text` matches the pattern, of the kind that POSIX and ECMAScript read alike. (std::regex
// makes GCC 12 warn of its own insides.)
bool Matches(const std::string& pattern, const std::string& text) {
  regex_t compiled;
  EXPECT_EQ(::regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB), 0) << pattern;
  bool matches = ::regexec(&compiled, text.c_str(), 0, nullptr, 0) == 0;
  ::regfree(&compiled);
  return matches;
}

class OpenApi : public FrontEndTest<HttpServer> {
 protected:
  void SetUp() override {
    const char* source = std::getenv("BULLA_SOURCE_DIR");
    ASSERT_NE(source, nullptr) << "set BULLA_SOURCE_DIR to the root of the tree";
    document_ = YAML::LoadFile(std::string(source) + "/api/openapi.yaml");
    StartServer();
    client_ = std::make_unique<RawHttpClient>(address_);
  }

  YAML::Node Schema(const std::string& name) {
    YAML::Node schema = document_["components"]["schemas"][name];
    EXPECT_TRUE(schema.IsMap()) << name;
    return schema;
  }
  Names Properties(const std::string& schema) {
    Names names;
    for (const auto& property : Schema(schema)["properties"]) {
      names.insert(property.first.as<std::string>());
    }
    return names;
  }
  Names Required(const std::string& schema) {
    Names names;
    for (const auto& name : Schema(schema)["required"]) names.insert(name.as<std::string>());
    return names;
  }
  static Names NamesOf(const json::value& object) {
    Names names;
    for (const auto& member : object.as_object()) names.insert(std::string(member.key()));
    return names;
  }
  std::string SignBody(bool der) const {
    return fmt::format(R"({{"keyId":"{}","digest":"{}","der":{}}})", key_id_.ToString(),
                       std::string(64, 'a'), der);
  }

  YAML::Node document_;
  std::unique_ptr<RawHttpClient> client_;
};

TEST_F(OpenApi, ServerHasEachPathWithEachMethodAndNoOther) {
  Names described;
  for (const auto& path : document_["paths"]) {
    std::string name = path.first.as<std::string>();
    described.insert(name);
    std::string target = name;
    if (name == "/keys/{keyId}") target = "/keys/" + key_id_.ToString();
    for (const char* method : {"get", "put", "post", "delete", "patch"}) {
      std::string upper;
      for (const char* c = method; *c != 0; ++c) upper += static_cast<char>(*c - 'a' + 'A');
      client_->Send(fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\n\r\n", upper, target));
      RawHttpAnswer answer = client_->Read();
      EXPECT_EQ(answer.status != 405, path.second[method].IsDefined()) << upper << " " << name;
      EXPECT_NE(answer.status, 0) << upper << " " << name;
    }
  }
  // The server names its paths when it is asked for one that it does not have.
  std::string message(json::parse(client_->Get("/").body).at("error").at("message").as_string());
  message = message.substr(message.find("want"));
  Names served;
  for (std::size_t at = 0; (at = message.find('/', at)) != std::string::npos;) {
    std::size_t end = std::min(message.find_first_of(", ", at), message.size());
    served.insert(message.substr(at, end - at));
    at = end;
  }
  EXPECT_EQ(served, described);
}

TEST_F(OpenApi, FieldsOfAnswersAreThoseDescribed) {
  json::value created = json::parse(client_->Post("/create", "").body);
  EXPECT_EQ(NamesOf(created), Properties("CreateResponse"));
  EXPECT_EQ(NamesOf(created), Required("CreateResponse"));
  json::value with_der = json::parse(client_->Post("/sign", SignBody(true)).body);
  EXPECT_EQ(NamesOf(with_der), Properties("SignResponse"));
  json::value without_der = json::parse(client_->Post("/sign", SignBody(false)).body);
  EXPECT_EQ(NamesOf(without_der), Required("SignResponse"));
  json::value batch = json::parse(client_->Post("/sign/batch", R"({"items":[1]})").body);
  EXPECT_EQ(NamesOf(batch), Properties("SignBatchResponse"));
  EXPECT_EQ(NamesOf(batch.at("results").at(0)), Properties("ErrorResponse"));
  json::value key = json::parse(client_->Get("/keys/" + key_id_.ToString()).body);
  EXPECT_EQ(NamesOf(key), Properties("Key"));
  EXPECT_EQ(NamesOf(key), Required("Key"));
  json::value refused = json::parse(client_->Post("/sign", "{}").body);
  EXPECT_EQ(NamesOf(refused), Properties("ErrorResponse"));
  EXPECT_EQ(NamesOf(refused.at("error")), Required("Error"));
  service_.SetOutcome(key_id_, ErrorCode::kRetryLater);
  json::value retry = json::parse(client_->Post("/sign", SignBody(false)).body);
  EXPECT_EQ(NamesOf(retry.at("error")), Properties("Error"));
}

TEST_F(OpenApi, PatternsDescribeTheAnswers) {
  auto matches = [&](const std::string& schema, const std::string& property,
                     const json::value& in) {
    YAML::Node node = Schema(schema)["properties"][property];
    if (node["$ref"]) node = Schema(node["$ref"].as<std::string>().substr(21));
    std::string text(in.at(property).as_string());
    return Matches(node["pattern"].as<std::string>(), text);
  };
  json::value key = json::parse(client_->Get("/keys/" + key_id_.ToString()).body);
  EXPECT_TRUE(matches("Key", "publicKey", key));
  EXPECT_TRUE(matches("Key", "address", key));
  json::value signature = json::parse(client_->Post("/sign", SignBody(true)).body);
  EXPECT_TRUE(matches("SignResponse", "signature", signature));
  EXPECT_TRUE(matches("SignResponse", "der", signature));
}

TEST_F(OpenApi, FieldsOfRequestsAreThoseTaken) {
  // A field that is described is known to the server; one that is not is refused by name.
  auto knows = [&](const char* path, const std::string& field) {
    std::string body = client_->Post(path, fmt::format(R"({{"{}":null}})", field)).body;
    return body.find(fmt::format("'{}': unknown", field)) == std::string::npos;
  };
  struct {
    const char* path;
    const char* schema;
  } const kRequests[] = {
      {"/create", "CreateRequest"}, {"/sign", "SignRequest"}, {"/sign/batch", "SignBatchRequest"}};
  for (const auto& request : kRequests) {
    Names described = Properties(request.schema);
    for (const char* field : {"keyId", "digest", "der", "items", "other"}) {
      EXPECT_EQ(knows(request.path, field), described.contains(field)) << request.path << field;
    }
    for (const std::string& field : described) EXPECT_TRUE(knows(request.path, field)) << field;
  }
  EXPECT_EQ(Schema("SignBatchRequest")["properties"]["items"]["maxItems"].as<std::size_t>(),
            limits::kBatchItemsMax);
}

TEST_F(OpenApi, ErrorCodesAndStatusesAreThoseOfTheTable) {
  Names described;
  for (const auto& code : Schema("Error")["properties"]["code"]["enum"]) {
    described.insert(code.as<std::string>());
  }
  Names table;
  for (int i = 1; i < kErrorCodeCount; ++i) {
    const ErrorRow& row = ErrorRowOf(static_cast<ErrorCode>(i));
    table.insert(std::string(row.name));
    std::string status = std::to_string(row.http_status);
    YAML::Node response = document_["paths"]["/sign"]["post"]["responses"][status];
    ASSERT_TRUE(response.IsDefined()) << row.name;
    bool try_again = response["$ref"].as<std::string>() == "#/components/responses/TryAgain";
    EXPECT_EQ(try_again, row.retryable) << row.name;
    std::string table_row = fmt::format("| `{}` | {}", row.name, status);
    EXPECT_NE(document_["info"]["description"].as<std::string>().find(table_row), std::string::npos)
        << table_row;
  }
  EXPECT_EQ(described, table);
}

TEST_F(OpenApi, HeadersOfAnswersAreThoseDescribed) {
  service_.SetOutcome(key_id_, ErrorCode::kRetryLater);
  RawHttpAnswer answer = client_->Post("/sign", SignBody(false));
  for (const auto& header : document_["components"]["responses"]["TryAgain"]["headers"]) {
    std::string name = header.first.as<std::string>();
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    EXPECT_TRUE(answer.headers.contains(name)) << name;
  }
}

TEST_F(OpenApi, ReferencesLeadSomewhere) {
  int references = 0;
  auto visit = [&](auto& self, const YAML::Node& node) -> void {
    if (node.IsSequence()) {
      for (const auto& item : node) self(self, item);
    }
    if (!node.IsMap()) return;
    for (const auto& member : node) {
      self(self, member.second);
      if (member.first.as<std::string>() != "$ref") continue;
      ++references;
      YAML::Node at = YAML::Clone(document_);
      std::string path = member.second.as<std::string>();
      ASSERT_TRUE(path.starts_with("#/")) << path;
      for (std::size_t begin = 2; begin < path.size();) {
        std::size_t end = std::min(path.find('/', begin), path.size());
        YAML::Node next = at[path.substr(begin, end - begin)];
        ASSERT_TRUE(next.IsDefined()) << path;
        at.reset(next);
        begin = end + 1;
      }
    }
  };
  visit(visit, document_);
  EXPECT_GT(references, 30);
}

}  // namespace
}  // namespace bulla
