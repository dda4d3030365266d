#pragma once

// The fields of one header block, or of trailers: two texts each, in the order of their arrival.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bulla::http2 {

// A field to be sent; what it refers to has to last for the call that it is given to.
struct Header {
  std::string_view name;  // lower case
  std::string_view value;
};

// Fields that have arrived. To be used again: Clear() keeps the memory.
class HeaderBlock {
 public:
  void Add(std::string_view name, std::string_view value) {
    entries_.push_back({static_cast<std::uint32_t>(text_.size()),
                        static_cast<std::uint32_t>(name.size()),
                        static_cast<std::uint32_t>(value.size())});
    text_.append(name).append(value);
  }
  void Clear() {
    text_.clear();
    entries_.clear();
  }

  std::size_t size() const { return entries_.size(); }
  Header operator[](std::size_t i) const {
    const Entry& entry = entries_[i];
    const std::string_view text = text_;
    return {text.substr(entry.begin, entry.name_size),
            text.substr(entry.begin + entry.name_size, entry.value_size)};
  }
  // The first field of that name.
  std::optional<std::string_view> Find(std::string_view name) const {
    for (std::size_t i = 0; i < size(); ++i) {
      if (const Header header = (*this)[i]; header.name == name) return header.value;
    }
    return std::nullopt;
  }

 private:
  struct Entry {
    std::uint32_t begin;
    std::uint32_t name_size;
    std::uint32_t value_size;
  };
  std::string text_;
  std::vector<Entry> entries_;
};

}  // namespace bulla::http2
