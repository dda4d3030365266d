#pragma once

// The small grammar that the fields of HTTP share (RFC 9110, section 5.6): tokens, lists, white
// space and case. Pure functions.

#include <algorithm>
#include <array>
#include <string_view>

namespace bulla {

inline constexpr std::string_view kHttpSpace = " \t";  // OWS

constexpr char AsciiLower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

inline bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return AsciiLower(x) == AsciiLower(y); });
}

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

constexpr bool IsHexDigit(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// tchar: what names of methods, fields and parameters consist of.
inline bool IsTokenChar(char c) {
  static constexpr auto kTable = [] {
    std::array<bool, 256> table{};
    for (char d : std::string_view("!#$%&'*+-.^_`|~0123456789")) {
      table[static_cast<unsigned char>(d)] = true;
    }
    for (char d = 'a'; d <= 'z'; ++d) table[static_cast<unsigned char>(d)] = true;
    for (char d = 'A'; d <= 'Z'; ++d) table[static_cast<unsigned char>(d)] = true;
    return table;
  }();
  return kTable[static_cast<unsigned char>(c)];
}

inline bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenChar);
}

inline std::string_view TrimHttpSpace(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kHttpSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kHttpSpace) + 1 - first);
}

// Takes the first member off a list that commas separate; it may be empty, which in most lists
// counts for nothing. Requires: `list` is not empty, or a member is still owed.
inline std::string_view TakeListMember(std::string_view& list) {
  const std::size_t comma = std::min(list.find(','), list.size());
  const std::string_view member = TrimHttpSpace(list.substr(0, comma));
  list.remove_prefix(std::min(comma + 1, list.size()));
  return member;
}

}  // namespace bulla
