#pragma once

// The key store's health as metrics.

#include <cstdint>
#include <prometheus/metric_family.h>
#include <vector>

#include "store/health.h"

namespace bulla {

// `transactions` since the start.
std::vector<prometheus::MetricFamily> StoreFamilies(const StoreHealth& health,
                                                    std::int64_t transactions);

}  // namespace bulla
