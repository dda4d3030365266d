#include "wire/key_policy.h"

#include <algorithm>
#include <fmt/format.h>

#include "wire/enclave.pb.h"

namespace bulla {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;

constexpr std::uint64_t Us(microseconds time) { return static_cast<std::uint64_t>(time.count()); }

// No number of ours needs more, and JSON and YAML readers elsewhere keep no more.
constexpr std::uint64_t kValueMax = std::uint64_t{1} << 53;

// One of `time` and `number` is set.
struct Setting {
  const char* name;
  microseconds KeyPolicy::*time;
  std::uint64_t KeyPolicy::*number;
  std::uint64_t min;  // in us, or in the unit
  std::uint64_t max;
  const char* unit;  // of number
  // A larger value lets secrets live longer or takes more memory than the image was made for.
  bool only_tightened;
  const char* advice;

  std::uint64_t Get(const KeyPolicy& policy) const {
    return time != nullptr ? Us(policy.*time) : policy.*number;
  }
  void Set(KeyPolicy& policy, std::uint64_t value) const {
    if (time != nullptr) {
      policy.*time = microseconds(static_cast<std::int64_t>(value));
    } else {
      policy.*number = value;
    }
  }
  std::string Show(std::uint64_t value) const {
    if (time == nullptr) return fmt::format("{} {}", value, unit);
    return internal::FormatDuration(microseconds(static_cast<std::int64_t>(value)));
  }
};

constexpr std::uint64_t kTtlMin = Us(milliseconds(100));  // shorter ones only burn CPU

const Setting kSettings[] = {
    {"plain_key.ttl_soft", &KeyPolicy::plain_key_ttl_soft, nullptr, kTtlMin, Us(minutes(16)), "",
     true, "Age at which a plain key that is in use is opened from its blob again, unnoticed."},
    {"plain_key.ttl_hard", &KeyPolicy::plain_key_ttl_hard, nullptr, kTtlMin, Us(minutes(16)), "",
     true, "Age at which a plain key is wiped, used or not."},
    {"plain_key.uses_max", nullptr, &KeyPolicy::plain_key_uses_max, 1, 1'000'000, "signatures",
     true, "How often a plain key signs before it is wiped and opened from its blob again."},
    {"plain_key.refresh_window", &KeyPolicy::plain_key_refresh_window, nullptr, Us(milliseconds(1)),
     Us(minutes(16)), "", false,
     "How long before its soft TTL a key in use is opened again, give or take a tenth."},
    {"plain_key.low_water_mark", nullptr, &KeyPolicy::plain_key_low_water_mark, 1, 1'000'000,
     "signatures", false, "The same by uses: with fewer left than this."},
    {"dek.ttl_soft", &KeyPolicy::dek_ttl_soft, nullptr, kTtlMin, Us(hours(1)), "", true,
     "Age at which a data key is opened by KMS again, while it goes on working."},
    {"dek.ttl_hard", &KeyPolicy::dek_ttl_hard, nullptr, kTtlMin, Us(hours(1)), "", true,
     "Age at which a data key is wiped, and no key under it signs any more. Disabling the CMK "
     "stops "
     "every signature within this time."},
    {"sign_wait_budget", &KeyPolicy::sign_wait_budget, nullptr, Us(milliseconds(1)),
     Us(milliseconds(100)), "", false,
     "How long a signature waits for its key to be opened before it is answered UNLOCK_REQUIRED."},
    {"hard_refresh_budget", &KeyPolicy::hard_refresh_budget, nullptr, Us(milliseconds(1)),
     Us(milliseconds(1000)), "", false,
     "How long an opening may take before further signatures are answered UNLOCK_REQUIRED at "
     "once."},
    {"memory_budget_mib", nullptr, &KeyPolicy::memory_budget_mib, 1, std::uint64_t{1} << 20, "MiB",
     true,
     "For keys, at most 256 bytes each and as much again while they are WARM. Over it, what was "
     "used least recently is dropped, and loaded again when it is asked for."},
};

const Setting* FindSetting(std::string_view name) {
  for (const Setting& setting : kSettings) {
    if (setting.name == name) return &setting;
  }
  return nullptr;
}

void Register(KeyPolicy& policy, ConfigReader& reader, const char* prefix, bool zero_allowed) {
  for (const Setting& setting : kSettings) {
    std::string name = std::string(prefix) + setting.name;
    std::uint64_t min = zero_allowed ? 0 : setting.min;
    if (setting.time != nullptr) {
      reader.AddDuration(name, &(policy.*setting.time), microseconds(min),
                         microseconds(setting.max), setting.advice);
    } else {
      reader.AddInteger(name, &(policy.*setting.number), setting.unit, min, setting.max,
                        setting.advice);
    }
  }
}

absl::Status Contradiction(const char* shorter, microseconds shorter_is, const char* longer,
                           microseconds longer_is) {
  return absl::InvalidArgumentError(fmt::format("{}: got {}, want at most {}, which is {}", shorter,
                                                internal::FormatDuration(shorter_is), longer,
                                                internal::FormatDuration(longer_is)));
}

}  // namespace

KeyPolicy NothingWanted() {
  KeyPolicy policy;
  for (const Setting& setting : kSettings) setting.Set(policy, 0);
  return policy;
}

void RegisterKeyPolicy(KeyPolicy& policy, ConfigReader& reader) {
  Register(policy, reader, "", /*zero_allowed=*/false);
}

void RegisterWantedKeyPolicy(KeyPolicy& policy, ConfigReader& reader) {
  Register(policy, reader, "key_policy.", /*zero_allowed=*/true);
}

absl::Status CheckKeyPolicy(const KeyPolicy& policy) {
  if (policy.plain_key_ttl_soft > policy.plain_key_ttl_hard) {
    return Contradiction("plain_key.ttl_soft", policy.plain_key_ttl_soft, "plain_key.ttl_hard",
                         policy.plain_key_ttl_hard);
  }
  if (policy.plain_key_refresh_window > policy.plain_key_ttl_soft) {
    return Contradiction("plain_key.refresh_window", policy.plain_key_refresh_window,
                         "plain_key.ttl_soft", policy.plain_key_ttl_soft);
  }
  if (policy.dek_ttl_soft > policy.dek_ttl_hard) {
    return Contradiction("dek.ttl_soft", policy.dek_ttl_soft, "dek.ttl_hard", policy.dek_ttl_hard);
  }
  return absl::OkStatus();
}

absl::StatusOr<KeyPolicy> TightenKeyPolicy(const KeyPolicy& image, const KeyPolicy& wanted) {
  KeyPolicy policy = image;
  for (const Setting& setting : kSettings) {
    std::uint64_t value = setting.Get(wanted);
    if (value == 0) continue;
    if (value < setting.min) {
      return absl::InvalidArgumentError(fmt::format("{}: got {}, want at least {}", setting.name,
                                                    setting.Show(value),
                                                    setting.Show(setting.min)));
    }
    std::uint64_t max = setting.only_tightened ? setting.Get(image) : setting.max;
    if (value > max) {
      return absl::InvalidArgumentError(
          fmt::format("{}: got {}, but this enclave allows at most {}", setting.name,
                      setting.Show(value), setting.Show(max)));
    }
    setting.Set(policy, value);
  }
  // What was not asked for gives way to what was.
  auto give_way = [&](microseconds KeyPolicy::*time, microseconds max) {
    if ((wanted.*time).count() == 0) policy.*time = std::min(policy.*time, max);
  };
  give_way(&KeyPolicy::plain_key_ttl_soft, policy.plain_key_ttl_hard);
  give_way(&KeyPolicy::plain_key_refresh_window, policy.plain_key_ttl_soft / 4);
  give_way(&KeyPolicy::dek_ttl_soft, policy.dek_ttl_hard * 11 / 12);  // as 55 minutes of 60
  BULLA_RETURN_IF_ERROR(CheckKeyPolicy(policy));
  return policy;
}

void EncodeKeyPolicy(const KeyPolicy& policy, PolicySettings& settings) {
  for (const Setting& setting : kSettings) {
    if (setting.Get(policy) == 0) continue;
    wire::v1::PolicySetting& message = *settings.Add();
    message.set_name(setting.name);
    message.set_value(setting.Get(policy));
  }
}

absl::StatusOr<KeyPolicy> DecodeKeyPolicy(const PolicySettings& settings) {
  KeyPolicy policy = NothingWanted();
  for (const wire::v1::PolicySetting& message : settings) {
    const Setting* setting = FindSetting(message.name());
    if (setting == nullptr) {
      return absl::InvalidArgumentError(
          fmt::format("key policy: no setting is called \"{}\"", message.name().substr(0, 40)));
    }
    if (setting->Get(policy) != 0) {
      return absl::InvalidArgumentError(fmt::format("{}: is there twice", setting->name));
    }
    if (message.value() > kValueMax) {
      return absl::InvalidArgumentError(fmt::format("{}: got {}, want at most {}", setting->name,
                                                    message.value(), setting->Show(setting->max)));
    }
    setting->Set(policy, message.value());
  }
  return policy;
}

}  // namespace bulla
