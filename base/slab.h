#pragma once

// Many objects of one type, named by 32-bit numbers instead of pointers and kept in chunks, so that
// ten million of them cost their own size each and one that is taken never moves.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"

namespace bulla {

// Not thread-safe: the owner guards it. T is default-constructible; one that is freed is as its
// last user left it until Allocate() gives it out again, as T().
template <typename T>
class Slab {
 public:
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  std::uint32_t Allocate() {
    if (free_.empty()) {
      std::uint32_t first = static_cast<std::uint32_t>(chunks_.size()) * kChunk;
      BULLA_CHECK(first < kNone - kChunk, "more objects than 32 bits can number");
      chunks_.push_back(std::make_unique<T[]>(kChunk));
      // All of them at once, so that Free() never allocates.
      free_.reserve(chunks_.size() * kChunk);
      for (std::uint32_t i = kChunk; i > 0; --i) free_.push_back(first + i - 1);
    }
    std::uint32_t index = free_.back();
    free_.pop_back();
    return index;
  }
  // Requires: `index` is taken. The object is destroyed and made anew.
  void Free(std::uint32_t index) {
    T& object = (*this)[index];
    std::destroy_at(&object);
    std::construct_at(&object);
    free_.push_back(index);
  }

  T& operator[](std::uint32_t index) { return chunks_[index / kChunk][index % kChunk]; }
  const T& operator[](std::uint32_t index) const { return chunks_[index / kChunk][index % kChunk]; }

  std::size_t taken() const { return chunks_.size() * kChunk - free_.size(); }
  std::size_t bytes() const {
    return chunks_.size() * (kChunk * sizeof(T) + sizeof(chunks_[0])) +
           free_.capacity() * sizeof(free_[0]);
  }

 private:
  static constexpr std::uint32_t kChunk = 256;

  std::vector<std::unique_ptr<T[]>> chunks_;
  std::vector<std::uint32_t> free_;
};

// Objects of a Slab in the order of their use. T has a member `LruLinks lru`.
struct LruLinks {
  std::uint32_t newer = 0xffff'ffff;
  std::uint32_t older = 0xffff'ffff;
};

template <typename T>
class LruList {
 public:
  static constexpr std::uint32_t kNone = Slab<T>::kNone;

  explicit LruList(Slab<T>& slab) : slab_(slab) {}

  // Requires: it is not in the list.
  void PushNewest(std::uint32_t index) {
    slab_[index].lru = {kNone, newest_};
    (newest_ == kNone ? oldest_ : slab_[newest_].lru.newer) = index;
    newest_ = index;
    ++size_;
  }
  // Requires: it is in the list.
  void Remove(std::uint32_t index) {
    LruLinks links = slab_[index].lru;
    (links.newer == kNone ? newest_ : slab_[links.newer].lru.older) = links.older;
    (links.older == kNone ? oldest_ : slab_[links.older].lru.newer) = links.newer;
    slab_[index].lru = {};
    --size_;
  }
  void MoveToNewest(std::uint32_t index) {
    if (index == newest_) return;
    Remove(index);
    PushNewest(index);
  }

  std::uint32_t oldest() const { return oldest_; }  // kNone when empty
  std::uint32_t newest() const { return newest_; }
  std::size_t size() const { return size_; }

 private:
  Slab<T>& slab_;
  std::uint32_t newest_ = kNone;
  std::uint32_t oldest_ = kNone;
  std::size_t size_ = 0;
};

}  // namespace bulla
