#include "gateway/call/clients.h"

#include <algorithm>
#include <utility>

namespace bulla {

ClientAddress ClientOf(const IpAddress& address) {
  if (IsMappedV4(address)) return address;
  ClientAddress client{};
  std::copy_n(address.begin(), 8, client.begin());
  return client;
}

ClientAccount* Clients::Hold(const ClientAddress& address) {
  MutexLock lock(mutex_);
  ClientAccount& account = accounts_[address];
  account.address = address;
  ++account.holders;
  return &account;
}

// Who lets go may be back with its next call, and is to be the same client then: its account stays
// for as long as its having asked counts.
void Clients::LetGo(ClientAccount* account) {
  MutexLock lock(mutex_);
  if (--account->holders > 0 || accounts_.size() <= kAccountsKeptMax) return;
  accounts_.erase(ClientAddress(account->address));
}

Client::Client(Clients& clients, const ClientAddress& address)
    : clients_(&clients), account_(clients.Hold(address)) {}

Client::Client(const Client& other)
    : clients_(other.clients_), account_(clients_->Hold(other.account_->address)) {}

Client::Client(Client&& other) noexcept
    : clients_(std::exchange(other.clients_, nullptr)), account_(other.account_) {}

Client::~Client() {
  if (clients_ != nullptr) clients_->LetGo(account_);
}

}  // namespace bulla
