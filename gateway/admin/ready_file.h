#pragma once

// The file that says where a gateway listens, once calls can be taken: whoever started it waits for
// it.

#include <string>

#include "base/clock.h"
#include "gateway/routing/data_plane.h"

namespace bulla {

// Confined to the ticking thread.
class ReadyFile {
 public:
  // It waits for every enclave and for the data keys in use, but not for ever: one enclave that is
  // down must not hold up the others.
  static constexpr std::chrono::seconds kPatience{5};

  // Nothing is written when `path` is empty. `text` is what is written.
  ReadyFile(std::string path, std::string text, MonotonicTime started)
      : path_(std::move(path)), text_(std::move(text)), started_(started) {}

  // Writes the file, once, when every enclave is available and the data keys in use are open, or
  // when some enclave is and patience has run out.
  void Tick(const DataPlane& data_plane, MonotonicTime now);

 private:
  const std::string path_;
  const std::string text_;
  const MonotonicTime started_;
  bool written_ = false;
};

}  // namespace bulla
