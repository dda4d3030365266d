#pragma once

// Durations and sizes as the numbers that reports are made of.

#include <chrono>
#include <cstdint>

#include "base/clock.h"

namespace bulla {

inline double Us(Duration time) { return std::chrono::duration<double, std::micro>(time).count(); }
inline double Ms(Duration time) { return std::chrono::duration<double, std::milli>(time).count(); }
inline double Seconds(Duration time) { return std::chrono::duration<double>(time).count(); }
inline double MiB(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

}  // namespace bulla
