#pragma once

// Where a fault campaign (tests/faults) changes what is being computed with, one bit at a time, to
// show that no single fault lets a wrong signature or a lost key out. In any other build all of
// this is nothing. C as well as C++.
//
// BULLA_FAULT_LIVE names memory that is computed with from here on, until BULLA_FAULT_GONE; at each
// BULLA_FAULT_STAGE any bit of what is live may change.

#ifdef BULLA_FAULT_CAMPAIGN

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
void FaultCampaignLive(const char* name, const void* memory, size_t bytes);
void FaultCampaignGone(const void* memory);
void FaultCampaignStage(const char* name);
#ifdef __cplusplus
}
#endif
#define BULLA_FAULT_LIVE(name, memory, bytes) FaultCampaignLive(name, memory, bytes)
#define BULLA_FAULT_GONE(memory) FaultCampaignGone(memory)
#define BULLA_FAULT_STAGE(name) FaultCampaignStage(name)

#else

#define BULLA_FAULT_LIVE(name, memory, bytes) ((void)0)
#define BULLA_FAULT_GONE(memory) ((void)0)
#define BULLA_FAULT_STAGE(name) ((void)0)

#endif
