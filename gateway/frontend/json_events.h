#pragma once

// What every handler of Boost.JSON's streaming parser has alike. Sizes have no limit of their own:
// whoever reads a body has bounded it.

#include <cstddef>

#include <boost/json/error.hpp>
#include <boost/json/string_view.hpp>

namespace bulla {

struct JsonEvents {
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);

  bool on_document_begin(boost::json::error_code&) { return true; }
  bool on_document_end(boost::json::error_code&) { return true; }
  // Numbers come whole too, and comments are not allowed.
  bool on_number_part(boost::json::string_view, boost::json::error_code&) { return true; }
  bool on_comment_part(boost::json::string_view, boost::json::error_code&) { return true; }
  bool on_comment(boost::json::string_view, boost::json::error_code&) { return true; }
};

}  // namespace bulla
