#include "bench/transport/http_response.h"

#include <charconv>

namespace bulla {
namespace {

bool EqualsIgnoringCase(std::string_view text, std::string_view lower_case) {
  if (text.size() != lower_case.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] - 'A' + 'a') : text[i];
    if (c != lower_case[i]) return false;
  }
  return true;
}

template <typename Number>
bool ReadNumber(std::string_view text, Number& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

// Where the value of a member begins; empty when there is no such member.
std::string_view BehindName(std::string_view body, std::string_view name) {
  for (std::size_t at = body.find(name); at != std::string_view::npos;
       at = body.find(name, at + 1)) {
    std::size_t end = at + name.size();
    if (at > 0 && body[at - 1] == '"' && body.substr(end, 2) == "\":") return body.substr(end + 2);
  }
  return {};
}

// The JSON object at the beginning of the text; empty when there is none, or no end of it.
std::string_view FirstObject(std::string_view text) {
  if (!text.starts_with('{')) return {};
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (in_string && c == '\\') ++i;  // what is escaped ends nothing
    if (c == '"') in_string = !in_string;
    if (in_string) continue;
    if (c == '{') ++depth;
    if (c == '}' && --depth == 0) return text.substr(0, i + 1);
  }
  return {};
}

}  // namespace

ResponseState ReadResponse(std::string_view bytes, std::size_t body_bytes_max, HttpResponse& out) {
  constexpr std::string_view kVersion = "HTTP/1.1 ";
  constexpr std::size_t kStatusDigits = 3;
  std::size_t header_end = bytes.find("\r\n\r\n");
  if (header_end == std::string_view::npos) return ResponseState::kIncomplete;
  std::string_view header = bytes.substr(0, header_end);
  if (!header.starts_with(kVersion) ||
      !ReadNumber(header.substr(kVersion.size(), kStatusDigits), out.status)) {
    return ResponseState::kMalformed;
  }
  std::optional<std::size_t> length;
  if (out.status == 204) length = 0;
  out.close = false;
  while (true) {
    std::size_t line_end = header.find("\r\n");
    if (line_end == std::string_view::npos) break;
    header.remove_prefix(line_end + 2);
    std::string_view line = header.substr(0, header.find("\r\n"));
    std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return ResponseState::kMalformed;
    std::string_view name = line.substr(0, colon);
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    if (EqualsIgnoringCase(name, "content-length")) {
      if (!ReadNumber(value, length.emplace())) return ResponseState::kMalformed;
    } else if (EqualsIgnoringCase(name, "connection")) {
      out.close = EqualsIgnoringCase(value, "close");
    }
  }
  if (!length || *length > body_bytes_max) return ResponseState::kMalformed;
  std::size_t body_at = header_end + 4;
  if (bytes.size() - body_at < *length) return ResponseState::kIncomplete;
  out.body = bytes.substr(body_at, *length);
  out.bytes = body_at + *length;
  return ResponseState::kComplete;
}

std::optional<RecoverableSignature> ReadSignature(std::string_view body) {
  RecoverableSignature signature;
  std::string_view recovery_id = BehindName(body, "recoveryId");
  if (!HexDecode(TextMember(body, "signature"), signature.rs) || recovery_id.size() < 2 ||
      recovery_id[0] < '0' || recovery_id[0] > '3' ||
      (recovery_id[1] != ',' && recovery_id[1] != '}')) {
    return std::nullopt;
  }
  signature.recovery_id = static_cast<std::uint8_t>(recovery_id[0] - '0');
  return signature;
}

bool ReadBatch(std::string_view body, std::vector<BatchResult>& results) {
  constexpr std::string_view kBegin = R"({"results":[)";
  results.clear();
  if (!body.starts_with(kBegin)) return false;
  body.remove_prefix(kBegin.size());
  while (true) {
    std::string_view item = FirstObject(body);
    if (item.empty()) return false;
    results.push_back({ReadSignature(item), item});
    body.remove_prefix(item.size());
    if (!body.starts_with(',')) return body == "]}";
    body.remove_prefix(1);
  }
}

std::string_view TextMember(std::string_view body, std::string_view name) {
  std::string_view value = BehindName(body, name);
  if (!value.starts_with('"')) return {};
  value.remove_prefix(1);
  std::size_t end = value.find('"');
  return end == std::string_view::npos ? std::string_view() : value.substr(0, end);
}

}  // namespace bulla
