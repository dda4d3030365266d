#include "gateway/frontend/forwarded.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace bulla {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

// RFC 9110: what names and unquoted values consist of.
bool IsTokenChar(char c) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || kMarks.find(c) != kMarks.npos;
}

bool EqualsFor(std::string_view name) {
  return name.size() == 3 && (name[0] | 0x20) == 'f' && (name[1] | 0x20) == 'o' &&
         (name[2] | 0x20) == 'r';
}

// The last kForwardedHopsMax addresses that were named, the newest behind; nothing for an element
// that names none.
class Hops {
 public:
  void Add(std::optional<IpAddress> hop) { hops_[count_++ % kForwardedHopsMax] = hop; }
  std::size_t size() const { return std::min(count_, kForwardedHopsMax); }
  // 0 is the last.
  const std::optional<IpAddress>& FromRight(std::size_t index) const {
    return hops_[(count_ - 1 - index) % kForwardedHopsMax];
  }

 private:
  std::array<std::optional<IpAddress>, kForwardedHopsMax> hops_;
  std::size_t count_ = 0;
};

Hops ReadXForwardedFor(std::string_view value) {
  Hops hops;
  while (true) {
    const std::size_t comma = value.find(',');
    hops.Add(ParseIpAddressAndPort(Trimmed(value.substr(0, comma))));
    if (comma == value.npos) return hops;
    value.remove_prefix(comma + 1);
  }
}

// RFC 7239, section 4: 1#( [pair] *( ";" [pair] ) ), pair = token "=" (token / quoted-string). It
// is read from the left, since only so is it known what is quoted, and it is right to its end or
// counts for nothing: else a caller's quote could swallow what the proxies wrote behind it.
class ForwardedReader {
 public:
  explicit ForwardedReader(std::string_view value) : rest_(value) {}

  std::optional<Hops> Read() {
    Hops hops;
    while (true) {
      std::optional<IpAddress> hop;
      if (!ReadElement(hop)) return std::nullopt;
      hops.Add(hop);
      if (rest_.empty()) return hops;
      rest_.remove_prefix(1);  // the comma
    }
  }

 private:
  // Up to a comma or the end.
  bool ReadElement(std::optional<IpAddress>& hop) {
    bool has_for = false;
    while (true) {
      SkipBlanks();
      if (!rest_.empty() && rest_.front() != ';' && rest_.front() != ',') {
        const std::string_view name = TakeToken();
        if (name.empty() || !Take('=') || !TakeValue()) return false;
        if (EqualsFor(name)) {
          if (has_for) return false;  // RFC 7239: once in an element
          has_for = true;
          hop = ParseIpAddressAndPort(value_);
        }
        SkipBlanks();
      }
      if (rest_.empty() || rest_.front() == ',') return true;
      if (!Take(';')) return false;
    }
  }

  void SkipBlanks() {
    while (!rest_.empty() && IsBlank(rest_.front())) rest_.remove_prefix(1);
  }
  bool Take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string_view TakeToken() {
    const auto end = std::ranges::find_if_not(rest_, IsTokenChar);
    const auto size = static_cast<std::size_t>(end - rest_.begin());
    const std::string_view token = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return token;
  }
  // Into value_.
  bool TakeValue() {
    if (!Take('"')) {
      value_ = TakeToken();
      return !value_.empty();
    }
    value_.clear();
    while (!rest_.empty()) {
      char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return true;
      if (c == '\\') {
        if (rest_.empty()) return false;
        c = rest_.front();
        rest_.remove_prefix(1);
      }
      if (static_cast<unsigned char>(c) < 0x20 && c != '\t') return false;
      value_ += c;
    }
    return false;
  }

  std::string_view rest_;
  std::string value_;
};

}  // namespace

std::optional<ForwardedField> ParseForwardedField(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kForwardedFieldNames); ++i) {
    if (name == kForwardedFieldNames[i]) return static_cast<ForwardedField>(i);
  }
  return std::nullopt;
}

IpAddress ClientBehind(const IpAddress& peer, std::string_view value, const ForwardedRules& rules) {
  if (value.size() > kForwardedBytesMax) return peer;
  const std::optional<Hops> hops = rules.field == ForwardedField::kForwarded
                                       ? ForwardedReader(value).Read()
                                       : ReadXForwardedFor(value);
  IpAddress client = peer;
  for (std::size_t i = 0; hops && i < hops->size() && rules.proxies.Has(client); ++i) {
    if (!hops->FromRight(i)) break;
    client = *hops->FromRight(i);
  }
  return client;
}

}  // namespace bulla
