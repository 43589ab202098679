// The stores there are, and how each is made: the embedded one, which the first launcher serves, and etcd.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "concerto/comm/channel.hpp"
#include "concerto/comm/identity.hpp"
#include "concerto/comm/job_environment.hpp"
#include "concerto/comm/store.hpp"

namespace concerto {

/// Of a client of any store.
struct StoreLimits {
  std::chrono::milliseconds call{5'000};  ///< of one call, connecting and connecting anew included
  /// An embedded store's client that waits for an answer asks whether the server is there after half this time without
  /// a message, and gives the connection up after all of it.
  std::chrono::milliseconds idle{10'000};
};

/// Of the embedded store's server. All of it is held in memory.
struct StoreServerLimits {
  std::size_t stored_bytes = std::size_t{256} << 20;  ///< keys and values together; writes beyond are refused
  std::size_t history_events = 65'536;                ///< changes kept for watches that resume
  std::size_t history_bytes = std::size_t{64} << 20;
};

/// The embedded store's server: serves from its construction to its destruction, on threads of its own and of the
/// network. A rank may write only what may_write (identity.hpp) allows, and use only leases that it was granted itself;
/// launchers may use all leases. A lock `name` is taken by whoever may write "locks/NAME". Contents end with it: the
/// clients of a server that another replaces at the same address fail with kLost.
class StoreServer {
 public:
  virtual ~StoreServer() = default;
  /// With the port that was really taken.
  [[nodiscard]] virtual std::string address() const = 0;
};

/// Serves the processes of `job` at `address` ("HOST:PORT"; port 0: any). `network` outlives the server. Error{kIo}
/// where it cannot be listened at.
[[nodiscard]] std::unique_ptr<StoreServer> make_embedded_store_server(Network& network, const std::string& address,
                                                                      const std::string& job,
                                                                      const StoreServerLimits& limits = {});

/// A client of the server at `address`, which has to show that it is `server`. Connects with the first call, and anew
/// whenever the connection was lost; `network` outlives the client, its watches and its locks.
[[nodiscard]] std::unique_ptr<Store> make_embedded_store(Network& network, const std::string& address,
                                                         const Identity& server, const StoreLimits& limits = {});

/// Which etcd, and as whom.
struct EtcdConfig {
  /// "https://10.0.0.1:2379", tried in turn, the one that answered last first. Plain http is for fabrics that are
  /// trusted: together with a file below it is an error, except that credentials may be sent to this machine itself.
  std::vector<std::string> endpoints;
  /// Everything lies under "/concerto/JOB/": a role of etcd's needs that range and no more.
  std::string job;
  // PEM files. Certificate and key go together; without an authority, the system's are trusted. Where etcd
  // authenticates users, the certificate must have no common name: its gateway refuses those that have one.
  std::filesystem::path authority;
  std::filesystem::path certificate;
  std::filesystem::path private_key;
  /// Holds USER:PASSWORD in its first line; a regular file that nobody but its user may read or write. Empty: no
  /// authentication.
  std::filesystem::path credentials;
  /// A token is replaced when it is this old, before etcd lets it end (`--auth-token-ttl`, 300 s by default).
  std::chrono::milliseconds token_renewal{120'000};
  StoreLimits limits;
};

/// A client of etcd (v3, by its JSON gateway). Connects with the first call. Error{kBadInput} for a configuration that
/// cannot work or is not safe, Error{kIo} for a file that cannot be read; never tells a password or a token.
[[nodiscard]] std::unique_ptr<Store> make_etcd_store(const EtcdConfig& config);

/// Of "etcd://HOST:PORT[,HOST:PORT...]": over TLS, with the system's authorities where `files` name no other; but in
/// the clear where they name no authority and no certificate, and every host is this machine or the fabric is trusted.
[[nodiscard]] EtcdConfig etcd_config(const std::string& address, const std::string& job, const StoreFiles& files,
                                     bool is_trusted_fabric);

/// What was said where, for messages: "cluster.store" and "security.credentials", "--rendezvous" and ...
struct StorePlaces {
  std::string address;
  std::string credentials;
};
/// make_etcd_store, and one question to see that it answers. Error naming the place: kIo where nobody answers or there
/// is no TLS session, kBadInput where the user, the password or what the user may do is wrong.
[[nodiscard]] std::unique_ptr<Store> open_etcd_store(const EtcdConfig& config, const StorePlaces& places);

}  // namespace concerto
