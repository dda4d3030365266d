#include "tests/faults/campaign.h"

#include <algorithm>

#include "crypto/fault_points.h"

namespace bulla {
namespace {

constexpr std::size_t kWordBytes = 8;
FaultCampaign* the_current = nullptr;

}  // namespace

FaultCampaign* FaultCampaign::current() { return the_current; }

void FaultCampaign::Begin(Site site, std::uint64_t bit) {
  live_.clear();
  next_site_ = 0;
  target_ = site;
  bit_ = bit;
  place_ = {};
  the_current = this;
}

void FaultCampaign::End() { the_current = nullptr; }

void FaultCampaign::Live(const char* name, const void* memory, std::size_t bytes) {
  Gone(memory);  // of an earlier call that has left in the middle
  live_.push_back({name, static_cast<std::uint8_t*>(const_cast<void*>(memory)), bytes});
}

void FaultCampaign::Gone(const void* memory) {
  std::erase_if(live_, [&](const Memory& live) { return live.begin == memory; });
}

void FaultCampaign::Stage(const char* name) {
  for (const Memory& memory : live_) {
    const Site words = (memory.bytes + kWordBytes - 1) / kWordBytes;
    if (target_ - next_site_ < words) {
      const std::size_t at = static_cast<std::size_t>(target_ - next_site_) * kWordBytes;
      const std::size_t bits = 8 * std::min(kWordBytes, memory.bytes - at);
      const std::size_t bit = static_cast<std::size_t>(bit_ % bits);
      memory.begin[at + bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
      place_ = {name, memory.name};
    }
    next_site_ += words;
  }
}

}  // namespace bulla

extern "C" {

void FaultCampaignLive(const char* name, const void* memory, size_t bytes) {
  if (auto* campaign = bulla::FaultCampaign::current()) campaign->Live(name, memory, bytes);
}
void FaultCampaignGone(const void* memory) {
  if (auto* campaign = bulla::FaultCampaign::current()) campaign->Gone(memory);
}
void FaultCampaignStage(const char* name) {
  if (auto* campaign = bulla::FaultCampaign::current()) campaign->Stage(name);
}

}  // extern "C"
