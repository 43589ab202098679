// What the embedded store's server does with the requests of its clients: rights, answers, and those that wait.
//
// Pure like the machine below it: clients are numbers, time is an argument, answers are returned. The server
// (store_server.cpp) adds connections and a timer.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "concerto/comm/identity.hpp"

#include "store_machine.hpp"
#include "wire.hpp"

namespace concerto::embedded {

/// A connection of a client.
using ClientId = std::uint64_t;

struct Outgoing {
  ClientId to = 0;
  Answer answer;
};

class StoreService {
 public:
  /// `store` names these contents (wire.hpp, Welcome).
  StoreService(std::string job, std::string store, const MachineLimits& limits);

  /// A client of another job is not served: every request is refused.
  void connect(ClientId client, const Identity& identity);
  /// What it waited for is forgotten; its places in locks and its leases are not.
  void disconnect(ClientId client);

  /// Answers to this client and to others that waited for what has happened, in their order.
  [[nodiscard]] std::vector<Outgoing> handle(ClientId client, Request request, StoreTime now);
  /// Lets time pass.
  [[nodiscard]] std::vector<Outgoing> tick(StoreTime now);
  /// When a lease ends next.
  [[nodiscard]] std::optional<StoreTime> next_end() const { return machine_.next_end(); }

 private:
  struct Client {
    Identity identity;
    bool is_greeted = false;
    std::size_t waiting = 0;
  };
  struct WaitingPoll {
    ClientId client = 0;
    std::uint64_t request = 0;
    std::string prefix;
    Revision after = 0;    ///< as asked
    Revision checked = 0;  ///< no change up to here
  };
  struct WaitingLock {
    ClientId client = 0;
    std::uint64_t request = 0;
    std::string name;
    std::string token;
  };

  struct Caller {
    ClientId id = 0;
    std::uint64_t request = 0;
    Client& client;
  };

  /// The answer, or nothing where it has to wait.
  using Reply = std::optional<AnswerBody>;
  [[nodiscard]] Reply answer(ClientId id, Request& request);
  [[nodiscard]] Reply reply(const Caller& caller, Hello& hello);
  [[nodiscard]] Reply reply(const Caller& caller, Ping& ping);
  [[nodiscard]] Reply reply(const Caller& caller, Put& put);
  [[nodiscard]] Reply reply(const Caller& caller, Get& get);
  [[nodiscard]] Reply reply(const Caller& caller, List& list);
  [[nodiscard]] Reply reply(const Caller& caller, Swap& swap);
  [[nodiscard]] Reply reply(const Caller& caller, Erase& erase);
  [[nodiscard]] Reply reply(const Caller& caller, Grant& grant);
  [[nodiscard]] Reply reply(const Caller& caller, KeepAlive& keep_alive);
  [[nodiscard]] Reply reply(const Caller& caller, Revoke& revoke);
  [[nodiscard]] Reply reply(const Caller& caller, Poll& poll);
  [[nodiscard]] Reply reply(const Caller& caller, Lock& lock);
  [[nodiscard]] Reply reply(const Caller& caller, Unlock& unlock);
  [[nodiscard]] Reply reply(const Caller& caller, Cancel& cancel);

  [[nodiscard]] std::optional<Failure> may_write_with(const Client& client, std::string_view key, LeaseId lease) const;
  [[nodiscard]] std::optional<Failure> may_use(const Client& client, LeaseId lease) const;
  [[nodiscard]] Reply changes_of(WaitingPoll& poll) const;
  [[nodiscard]] Reply turn_of(const WaitingLock& lock) const;
  [[nodiscard]] bool may_wait(Client& client);
  /// Answers those for whom something has changed since the last call.
  void serve_waiting(std::vector<Outgoing>& out);
  template <class Waiting, class Turn>
  void serve(std::vector<Waiting>& list, std::vector<Outgoing>& out, const Turn& turn);
  void forget_ended_leases();

  std::string job_;
  std::string store_;
  std::size_t history_events_;
  StoreMachine machine_;
  std::map<ClientId, Client> clients_;
  std::map<LeaseId, Identity> lease_owners_;
  std::vector<WaitingPoll> polls_;
  std::vector<WaitingLock> locks_;
};

}  // namespace concerto::embedded
