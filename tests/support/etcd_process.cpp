// Starting, stopping and asking a real etcd.
#include "support/etcd_process.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "concerto/base/file.hpp"

namespace concerto::test {
namespace {

bool is_program(const std::string& name) {
  return std::system(("command -v " + name + " >/dev/null 2>&1").c_str()) == 0;  // NOLINT: a name of ours
}

void must(bool done, const std::string& what) {
  if (!done) throw std::runtime_error("etcd of a test: " + what);
}

void shell(const std::string& command) {
  must(std::system(command.c_str()) == 0, command);
}  // NOLINT

class Socket {
 public:
  Socket() : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{20, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  ~Socket() { ::close(descriptor_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  [[nodiscard]] int get() const { return descriptor_; }

 private:
  int descriptor_;
};

sockaddr_in local(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// Ports that nobody listens at; all are held until all are known, so that they differ.
std::vector<int> free_ports(std::size_t count) {
  std::vector<int> ports;
  std::vector<Socket> sockets(count);
  for (const Socket& socket : sockets) {
    sockaddr_in address = local(0);
    socklen_t size = sizeof address;
    must(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) == 0, "no free port");
    must(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0, "no name of a port");
    ports.push_back(ntohs(address.sin_port));
  }
  return ports;
}

void wait_a_moment() {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable nobody;
  nobody.wait_for(lock, std::chrono::milliseconds{20});
}

}  // namespace

std::string EtcdProcess::why_not(const Options& options) {
  if (!is_program("etcd")) return "SKIPPED: etcd is not installed (Debian package etcd-server)";
  if (options.has_tls && !is_program("openssl")) return "SKIPPED: openssl is not installed";
  return {};
}

EtcdProcess::EtcdProcess(const Options& options) : options_(options) {
  std::string name = (std::filesystem::temp_directory_path() / "concerto-etcd-XXXXXX").string();
  must(::mkdtemp(name.data()) != nullptr, "no temporary directory");
  folder_ = name;
  if (options_.has_tls) make_certificates();
  // A port may be taken by somebody else before etcd takes it: then with others.
  for (int attempt = 0; attempt < 5; ++attempt) {
    const std::vector<int> ports = free_ports(3);
    plain_port_ = ports[0];
    tls_port_ = ports[1];
    peer_port_ = ports[2];
    run();
    if (answers()) return;
    kill();
    std::filesystem::remove_all(folder_ / "data");
  }
  const std::string log = read_file(folder_ / "log");
  std::filesystem::remove_all(folder_);
  throw std::runtime_error("etcd does not start: " + log.substr(log.size() > 2000 ? log.size() - 2000 : 0));
}

EtcdProcess::~EtcdProcess() {
  kill();
  std::error_code error;
  std::filesystem::remove_all(folder_, error);
}

std::string EtcdProcess::endpoint() const {
  return options_.has_tls ? fmt::format("https://127.0.0.1:{}", tls_port_)
                          : fmt::format("http://127.0.0.1:{}", plain_port_);
}

void EtcdProcess::run() {
  const std::string plain = fmt::format("http://127.0.0.1:{}", plain_port_);
  const std::string peer = fmt::format("http://127.0.0.1:{}", peer_port_);
  // The least lease is three elections' time: with these it is one second.
  std::vector<std::string> words{"etcd",
                                 "--name",
                                 "test",
                                 "--data-dir",
                                 (folder_ / "data").string(),
                                 "--heartbeat-interval",
                                 "50",
                                 "--election-timeout",
                                 "250",
                                 "--listen-peer-urls",
                                 peer,
                                 "--initial-advertise-peer-urls",
                                 peer,
                                 "--initial-cluster",
                                 "test=" + peer,
                                 "--advertise-client-urls",
                                 plain,
                                 "--listen-client-urls",
                                 options_.has_tls ? plain + "," + endpoint() : plain};
  if (options_.has_tls) {
    for (const auto& [option, path] : {std::pair{"--cert-file", certificates_.server_certificate},
                                       {"--key-file", certificates_.server_key},
                                       {"--trusted-ca-file", certificates_.authority}}) {
      words.insert(words.end(), {option, path.string()});
    }
    words.push_back("--client-cert-auth");
  }
  if (options_.token_seconds > 0)
    words.insert(words.end(), {"--auth-token-ttl", std::to_string(options_.token_seconds), "--bcrypt-cost", "4"});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::string log = (folder_ / "log").string();
  const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  must(output >= 0, "no log");
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  must(pid_ >= 0, "no process");
  if (pid_ == 0) {
    // It must not outlive the test, however the test ends.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(output);
}

bool EtcdProcess::answers() const {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{60};
  while (std::chrono::steady_clock::now() < deadline) {
    siginfo_t ended{};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid != 0)
      return false;
    // Health is of the cluster: it has a leader and takes writes.
    if (post("/health", "").find("\"health\":\"true\"") != std::string::npos) return true;
    wait_a_moment();
  }
  return false;
}

void EtcdProcess::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void EtcdProcess::start() {
  run();
  must(answers(), "it does not start again");
}

void EtcdProcess::freeze() {
  ::kill(pid_, SIGSTOP);
  ::waitpid(pid_, nullptr, WUNTRACED);
}

void EtcdProcess::thaw() {
  ::kill(pid_, SIGCONT);
}

std::string EtcdProcess::post(const std::string& path, const std::string& body) const {
  return post(path, body, {});
}

std::string EtcdProcess::post(const std::string& path, const std::string& body, const std::string& token) const {
  const Socket socket;
  const sockaddr_in address = local(plain_port_);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  const std::string request =
      fmt::format("{} {} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n{}\r\n{}", body.empty() ? "GET" : "POST",
                  path, body.size(), token.empty() ? "" : "Authorization: " + token + "\r\n", body);
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
    return {};
  std::string answer;
  char part[4096];
  for (ssize_t size = 0; (size = ::recv(socket.get(), part, sizeof part, 0)) > 0;)
    answer.append(part, static_cast<std::size_t>(size));
  return answer;
}

void EtcdProcess::make_certificates() {
  const auto at = [&](const char* name) { return folder_ / name; };
  const auto authority = [&](const char* name) {
    shell(
        fmt::format("cd '{0}' && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
                    "-subj /CN={1} -keyout {1}.key -out {1}.pem 2>>openssl.log",
                    folder_.string(), name));
  };
  const auto certificate = [&](const char* issuer, const char* name) {
    // etcd's gateway is a client of etcd with the server's certificate: it has to be good for both. And it refuses
    // certificates with a common name where users are authenticated.
    shell(fmt::format(
        "cd '{0}' && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O={2} "
        "-keyout {2}.key -out {2}.csr 2>>openssl.log && printf "
        "'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' >{2}.ext && openssl x509 "
        "-req -in {2}.csr -CA {1}.pem -CAkey {1}.key -CAcreateserial -days 2 -extfile {2}.ext -out {2}.pem "
        "2>>openssl.log",
        folder_.string(), issuer, name));
  };
  authority("authority");
  certificate("authority", "server");
  certificate("authority", "client");
  authority("other");
  certificate("other", "stranger");
  certificates_ = {at("authority.pem"), at("server.pem"),   at("server.key"),  at("client.pem"),
                   at("client.key"),    at("stranger.pem"), at("stranger.key")};
}

}  // namespace concerto::test
