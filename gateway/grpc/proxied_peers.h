#pragma once

// Whom the connections of trusted proxies are for, of a listener whose connections belong to
// somebody else (gRPC) once they are made: found again by the peer's address and port.

#include <cstddef>
#include <deque>
#include <map>
#include <optional>

#include "base/mutex.h"
#include "gateway/call/ip_address.h"

namespace bulla {

// Thread-safe.
class ProxiedPeers {
 public:
  // More than there are connections. Nobody says when one has ended; its port is used again, or it
  // is forgotten as the oldest.
  static constexpr std::size_t kPeersMax = 64 * 1024;

  // What the PROXY header of the connection from `peer` says; nothing: the proxy speaks for itself.
  void Set(const IpEndpoint& peer, std::optional<IpAddress> source) BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    auto [found, is_new] = sources_.insert_or_assign(peer, source.value_or(peer.address));
    if (!is_new) return;
    order_.push_back(peer);
    if (order_.size() <= kPeersMax) return;
    sources_.erase(order_.front());
    order_.pop_front();
  }
  // The peer itself, unless a header said otherwise.
  IpAddress SourceOf(const IpEndpoint& peer) const BULLA_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    auto found = sources_.find(peer);
    return found == sources_.end() ? peer.address : found->second;
  }

 private:
  mutable Mutex mutex_;
  std::map<IpEndpoint, IpAddress> sources_ BULLA_GUARDED_BY(mutex_);
  std::deque<IpEndpoint> order_ BULLA_GUARDED_BY(mutex_);  // as they came
};

}  // namespace bulla
