// A real etcd for tests: started on free ports of this machine in a temporary directory, ended with the object.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace concerto::test {

/// Certificates of a test: an authority, a server's certificate for 127.0.0.1, and clients' ones.
struct TestCertificates {
  std::filesystem::path authority;
  std::filesystem::path server_certificate;
  std::filesystem::path server_key;
  std::filesystem::path client_certificate;
  std::filesystem::path client_key;
  std::filesystem::path stranger_certificate;  ///< of another authority
  std::filesystem::path stranger_key;
};

class EtcdProcess {
 public:
  struct Options {
    bool has_tls = false;   ///< clients show certificates too
    int token_seconds = 0;  ///< 0: as etcd has it
  };
  /// Nothing, with the reason printed as "SKIPPED: ...", where etcd or what it takes is not installed. Fails the
  /// process by an exception where it does not start.
  [[nodiscard]] static std::string why_not(const Options& options);
  explicit EtcdProcess(const Options& options);
  ~EtcdProcess();
  EtcdProcess(const EtcdProcess&) = delete;
  EtcdProcess& operator=(const EtcdProcess&) = delete;

  /// "http://127.0.0.1:4711", or https with TLS.
  [[nodiscard]] std::string endpoint() const;
  [[nodiscard]] const TestCertificates& certificates() const noexcept { return certificates_; }
  [[nodiscard]] const std::filesystem::path& folder() const noexcept { return folder_; }

  void kill();    ///< as the power does
  void start();   ///< again, with the same data; returns when it answers
  void freeze();  ///< it holds its connections, but does nothing
  void thaw();

  /// Posts to the gateway without TLS or authentication of the client, which etcd always offers on a port of its own.
  [[nodiscard]] std::string post(const std::string& path, const std::string& body) const;
  /// The same, with a token.
  [[nodiscard]] std::string post(const std::string& path, const std::string& body, const std::string& token) const;

 private:
  void run();
  [[nodiscard]] bool answers() const;
  void make_certificates();

  Options options_;
  std::filesystem::path folder_;
  TestCertificates certificates_;
  int plain_port_ = 0;
  int tls_port_ = 0;
  int peer_port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace concerto::test
