#pragma once

// Which connection gives its place up when there is none left for a newcomer: of the client that
// holds most, the one that has waited for its caller longest. So one address that opens sockets
// without end takes places from itself, and from nobody else.
//
// It knows the connections of one I/O thread. The kernel spreads them over the threads, each
// address' too, so who holds most on one holds most on all.

#include <cstddef>
#include <list>
#include <map>
#include <set>
#include <utility>

#include "base/check.h"
#include "gateway/call/clients.h"

namespace bulla {

// `Connection` owns a Place. Confined to one thread; no allocation between Enter and Leave.
template <typename Connection>
class ConnectionPlaces {
 private:
  struct Client;

 public:
  // A connection's place, as long as it has one. It must leave before it is destroyed.
  class Place {
   public:
    explicit Place(Connection& connection) : connection_(connection), self_{this} {}
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() { BULLA_CHECK(client_ == nullptr, "a connection that goes leaves its place"); }

   private:
    friend class ConnectionPlaces;
    Connection& connection_;
    Client* client_ = nullptr;
    std::list<Place*> self_;  // one node, which is in Client::waiting while it waits
    typename std::list<Place*>::iterator node_ = self_.begin();
    bool waits_ = false;
  };

  // The connection is `address`'s, and waits. Requires: it has none.
  void Enter(Place& place, const ClientAddress& address) {
    Client& client = clients_[address];
    client.address = address;
    place.client_ = &client;
    Count(client, client.connections + 1);
    Waits(place);
  }
  // Idempotent.
  void Leave(Place& place) {
    if (place.client_ == nullptr) return;
    Works(place);
    Client& client = *std::exchange(place.client_, nullptr);
    Count(client, client.connections - 1);
    if (client.connections == 0) clients_.erase(ClientAddress(client.address));
  }

  // It waits for its caller: for a request, the rest of one, the end. Since when it does not change
  // by saying so again.
  void Waits(Place& place) {
    if (place.client_ == nullptr || std::exchange(place.waits_, true)) return;
    auto& waiting = place.client_->waiting;
    waiting.splice(waiting.end(), place.self_);
  }
  // Its caller waits for it.
  void Works(Place& place) {
    if (place.client_ == nullptr || !std::exchange(place.waits_, false)) return;
    auto& waiting = place.client_->waiting;
    place.self_.splice(place.self_.end(), waiting, place.node_);
  }

  // Null when none waits.
  Connection* ToGiveUp() const {
    for (auto client = by_count_.rbegin(); client != by_count_.rend(); ++client) {
      const auto& waiting = client->second->waiting;
      if (!waiting.empty()) return &waiting.front()->connection_;
    }
    return nullptr;
  }

 private:
  struct Client {
    ClientAddress address{};
    std::size_t connections = 0;
    std::list<Place*> waiting;  // since longest first
  };

  void Count(Client& client, std::size_t connections) {
    by_count_.erase({client.connections, &client});
    client.connections = connections;
    if (connections > 0) by_count_.emplace(connections, &client);
  }

  std::map<ClientAddress, Client> clients_;
  std::set<std::pair<std::size_t, Client*>> by_count_;
};

}  // namespace bulla
