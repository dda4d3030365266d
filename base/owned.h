#pragma once

// Owning pointers for C libraries: `Owned<X509, X509_free>`. Knows no library, so that a header
// can use it without dragging one in.

#include <memory>

namespace bulla {

template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

template <typename T, auto Free>
using Owned = std::unique_ptr<T, FreeWith<Free>>;

}  // namespace bulla
