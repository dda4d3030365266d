#pragma once

// One bit of what a computation works with, changed in the middle of it. The code under test names
// its memory and its stages (crypto/fault_points.h); a campaign counts them in a run without a
// fault, and then runs again and again, with another word changed at another stage each time.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace bulla {

// Confined to one thread; one at a time.
class FaultCampaign {
 public:
  // A word of 8 bytes (the last of a memory may be shorter) at a stage. Counted from 0 through all
  // stages of a run, and in each through all memory that is live.
  using Site = std::uint64_t;
  struct Place {
    std::string stage;
    std::string memory;
  };

  // Runs without a fault and counts; how many sites there are.
  template <typename Run>
  Site Count(const Run& run) {
    Begin(kNoSite, 0);
    run();
    End();
    return next_site_;
  }

  // Runs with bit `bit` (modulo the size) of the site's word changed; where that was.
  template <typename Run>
  Place Inject(Site site, std::uint64_t bit, const Run& run) {
    Begin(site, bit);
    run();
    End();
    return place_;
  }

  // The ends of crypto/fault_points.h.
  void Live(const char* name, const void* memory, std::size_t bytes);
  void Gone(const void* memory);
  void Stage(const char* name);
  static FaultCampaign* current();

 private:
  static constexpr Site kNoSite = ~Site{0};
  struct Memory {
    const char* name;
    std::uint8_t* begin;
    std::size_t bytes;
  };

  void Begin(Site site, std::uint64_t bit);
  void End();

  std::vector<Memory> live_;
  Site next_site_ = 0;
  Site target_ = kNoSite;
  std::uint64_t bit_ = 0;
  Place place_;
};

}  // namespace bulla
