#pragma once

// Who calls: one account for each client, however many connections and calls it has. What checks of
// calls have to remember of a client stands in its account, so that a check costs a few atomics and
// no look-up. A client is the network address that calls, of IPv6 its /64.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>

#include "base/mutex.h"
#include "gateway/call/ip_address.h"

namespace bulla {

// Who a client is: an address, the last eight bytes zero unless it is an IPv4 one.
using ClientAddress = std::array<std::uint8_t, 16>;
ClientAddress ClientOf(const IpAddress& address);

// Thread-safe.
struct ClientAccount {
  ClientAddress address;
  std::atomic<std::size_t> in_flight{0};  // admission's: signatures let in
  std::atomic<std::uint32_t> epoch{0};    // admission's: in which it last asked
  std::size_t holders = 0;                // guarded by Clients
};

// Thread-safe.
class Clients {
 public:
  // Forgets accounts that nobody holds and of which `is_idle` is true.
  template <typename IsIdle>
  void ForgetIdle(IsIdle is_idle) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::erase_if(accounts_, [&](const auto& entry) {
      return entry.second.holders == 0 && is_idle(entry.second);
    });
  }

 private:
  friend class Client;
  // With more than these, an account goes as soon as nobody holds it.
  static constexpr std::size_t kAccountsKeptMax = 64 * 1024;

  ClientAccount* Hold(const ClientAddress& address) BULLA_EXCLUDES(mutex_);
  void LetGo(ClientAccount* account) BULLA_EXCLUDES(mutex_);

  Mutex mutex_;
  // Of clients that are held, or have asked lately.
  std::map<ClientAddress, ClientAccount> accounts_ BULLA_GUARDED_BY(mutex_);
};

// A client, for as long as somebody holds it: a connection, a stream or a unary call of gRPC.
// `clients` outlives it. Movable; thread-safe.
class Client {
 public:
  Client(Clients& clients, const ClientAddress& address);
  Client(const Client& other);
  Client(Client&& other) noexcept;
  Client& operator=(Client&&) = delete;
  ~Client();

  // Requires: not moved from.
  ClientAccount& account() const { return *account_; }

 private:
  Clients* clients_;  // null when moved from
  ClientAccount* account_;
};

}  // namespace bulla
