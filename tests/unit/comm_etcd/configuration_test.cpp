// What a configuration for etcd must hold, before any connection: each mistake is one clear error, without the secret.
#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/stores.hpp"

#include "credentials.hpp"

namespace concerto {
namespace {

class EtcdConfigurationTest : public ::testing::Test {
 protected:
  EtcdConfigurationTest() {
    std::string name = (std::filesystem::temp_directory_path() / "concerto-test-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    config_.endpoints = {"https://127.0.0.1:2379"};
    config_.job = "job";
  }
  ~EtcdConfigurationTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path file(const std::string& content, ::mode_t mode = 0600) {
    const auto path = folder_ / "file";
    std::filesystem::remove(path);
    std::ofstream(path) << content;
    ::chmod(path.c_str(), mode);
    return path;
  }

  /// What making the store says; empty: it is made.
  std::string error_of(const EtcdConfig& config) {
    try {
      (void)make_etcd_store(config);
      return {};
    } catch (const Error& error) {
      return error.what();
    }
  }

  std::filesystem::path folder_;
  EtcdConfig config_;
};

TEST_F(EtcdConfigurationTest, AGoodOneIsTaken) {
  config_.credentials = file("me:secret\n");
  EXPECT_EQ(error_of(config_), "");
  config_.endpoints = {"http://127.0.0.1:2379", "http://localhost:1", "http://[::1]:3/"};
  EXPECT_EQ(error_of(config_), "");
  EXPECT_EQ(make_etcd_store(config_)->description(),
            "etcd at http://127.0.0.1:2379, http://localhost:1, http://[::1]:3");
}

TEST_F(EtcdConfigurationTest, EndpointsAreChecked) {
  const auto with = [&](std::string endpoint) {
    config_.endpoints = {std::move(endpoint)};
    return error_of(config_);
  };
  config_.endpoints = {};
  EXPECT_NE(error_of(config_), "");
  for (const char* endpoint : {"", "etcd://a:1", "https://", "a:1", "https://a/b", "https://a?b", "https://a b"})
    EXPECT_NE(with(endpoint), "") << endpoint;
  const std::string told = with("https://me:secret@127.0.0.1:2379");
  EXPECT_NE(told, "");
  EXPECT_EQ(told.find("secret"), std::string::npos);
  EXPECT_EQ(with("http://10.0.0.1:2379"), "") << "a fabric that is trusted, and nothing secret";
  config_.credentials = file("me:secret\n");
  EXPECT_NE(with("http://10.0.0.1:2379"), "") << "a password in the clear";
  EXPECT_NE(with("http://127.0.0.1.example.org:2379"), "") << "only looks like this machine";
  config_.credentials.clear();
  config_.authority = file("x");
  EXPECT_NE(with("http://127.0.0.1:2379"), "") << "certificates that would not be used";
}

TEST_F(EtcdConfigurationTest, CertificatesAndJobsAreChecked) {
  config_.certificate = file("x");
  EXPECT_NE(error_of(config_), "") << "a certificate without its key";
  config_.private_key = folder_ / "nowhere";
  EXPECT_NE(error_of(config_).find("nowhere"), std::string::npos);
  config_.private_key = config_.certificate;
  EXPECT_EQ(error_of(config_), "") << "whether they fit shows when they are used";
  for (const char* job : {"", "a/b", "..", "a b"}) {
    config_.job = job;
    EXPECT_NE(error_of(config_), "") << job;
  }
  config_.job = std::string(65, 'j');
  EXPECT_NE(error_of(config_), "");
}

TEST_F(EtcdConfigurationTest, CredentialsAreReadOnlyFromAPrivateFile) {
  const etcd::Login login = etcd::read_login(file("me:a:b c\r\nmore\n"));
  EXPECT_EQ(login.user, "me");
  EXPECT_EQ(login.password, "a:b c");
  for (const ::mode_t mode : {0640U, 0604U, 0620U, 0644U, 0660U, 0601U}) {
    config_.credentials = file("me:secret\n", mode);
    const std::string told = error_of(config_);
    EXPECT_NE(told.find("0600"), std::string::npos) << told;
    EXPECT_EQ(told.find("secret"), std::string::npos);
  }
  for (const char* content : {"", "\n", "me\n", "me:\n", ":secret\n", "\nme:secret\n"}) {
    config_.credentials = file(content);
    const std::string told = error_of(config_);
    EXPECT_NE(told.find("USER:PASSWORD"), std::string::npos) << told;
    EXPECT_EQ(told.find("secret"), std::string::npos);
  }
  config_.credentials = file(std::string(10'000, 'x'));
  EXPECT_NE(error_of(config_), "");
  config_.credentials = folder_;
  EXPECT_NE(error_of(config_), "");
  config_.credentials = folder_ / "nowhere";
  EXPECT_NE(error_of(config_), "");
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  config_.credentials = folder_ / "pipe";
  EXPECT_NE(error_of(config_).find("not a regular file"), std::string::npos);
}

TEST_F(EtcdConfigurationTest, AddressesAreEncryptedUnlessTheyStayHereOrTheFabricIsTrusted) {
  const auto endpoints = [](const std::string& address, const StoreFiles& files, bool is_trusted) {
    return etcd_config(address, "job", files, is_trusted).endpoints;
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(endpoints("etcd://127.0.0.1:1,localhost:2,[::1]:3", {}, false),
            (Texts{"http://127.0.0.1:1", "http://localhost:2", "http://[::1]:3"}));
  EXPECT_EQ(endpoints("etcd://127.0.0.1:1,far:2", {}, false), (Texts{"https://127.0.0.1:1", "https://far:2"}));
  EXPECT_EQ(endpoints("etcd://far:2", {}, true), (Texts{"http://far:2"}));
  StoreFiles files;
  files.authority = "/a.pem";
  EXPECT_EQ(endpoints("etcd://127.0.0.1:1", files, true), (Texts{"https://127.0.0.1:1"}));
  files = {};
  files.certificate = "/c.pem";
  EXPECT_EQ(endpoints("etcd://far:1", files, true), (Texts{"https://far:1"}));
}

}  // namespace
}  // namespace concerto
