// Sessions over loopback: who may talk to whom, what arrives, and what each failure says.
#include <condition_variable>
#include <deque>
#include <fstream>
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "concerto/base/error.hpp"
#include "concerto/comm/networks.hpp"
#include "concerto/comm/stores.hpp"
#include "concerto/comm/trust.hpp"

namespace concerto {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr milliseconds kPatience{20'000};

Identity launcher(const std::string& job = "job") {
  return {job, Role::kLauncher, 0, 0};
}
Identity rank(Rank index, const std::string& job = "job") {
  return {job, Role::kRank, index, 1};
}

/// What a channel has told, for a test to wait for.
class Inbox {
 public:
  ChannelEvents events() {
    return {[this](Channel&, Message message) {
              const std::scoped_lock lock(mutex_);
              messages_.push_back(std::move(message));
              changed_.notify_all();
            },
            [this](Channel&, const Failure& failure) {
              const std::scoped_lock lock(mutex_);
              closed_ = failure;
              changed_.notify_all();
            }};
  }
  Message message() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [this] { return !messages_.empty(); })) return {0xffff, 0, {}};
    Message first = std::move(messages_.front());
    messages_.pop_front();
    return first;
  }
  std::optional<Failure> closed() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPatience, [this] { return closed_.has_value(); });
    return closed_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
  std::optional<Failure> closed_;
};

Message message_of(std::uint16_t type, std::size_t size) {
  Message message{type, 7, std::vector<std::byte>(size)};
  for (std::size_t i = 0; i < size; ++i) message.payload[i] = static_cast<std::byte>(i * 31 + type);
  return message;
}

/// A listening launcher, and its accepted channels.
class TlsNetworkTest : public ::testing::Test {
 protected:
  std::unique_ptr<Network> network(const Identity& who, const NetworkLimits& limits = {}) {
    return make_tls_network((who.job == "job" ? authority_ : other_).issue(who), limits);
  }
  Result<std::shared_ptr<Channel>> connect(Network& from, Inbox& inbox, const Identity& expected = launcher()) {
    return from.connect(listener_->address(), expected, inbox.events(), kPatience);
  }
  std::shared_ptr<Channel> accepted() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPatience, [this] { return !accepted_.empty(); });
    return accepted_.empty() ? nullptr : accepted_.back();
  }

  JobAuthority authority_{"job"};
  JobAuthority other_{"other"};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Channel>> accepted_;
  Inbox server_inbox_;
  std::unique_ptr<Network> server_ = network(launcher());
  std::unique_ptr<Listener> listener_ = server_->listen("127.0.0.1:0", [this](std::shared_ptr<Channel> channel) {
    const std::scoped_lock lock(mutex_);
    accepted_.push_back(std::move(channel));
    changed_.notify_all();
    return server_inbox_.events();
  });
};

TEST_F(TlsNetworkTest, BothSidesKnowEachOtherAndMessagesArriveInOrder) {
  const auto client = network(rank(3));
  Inbox inbox;
  const auto channel = connect(*client, inbox);
  ASSERT_TRUE(channel) << channel.failure().message;
  EXPECT_EQ(channel.value()->peer(), launcher());
  const auto server_side = accepted();
  ASSERT_NE(server_side, nullptr);
  EXPECT_EQ(server_side->peer(), rank(3));
  for (std::uint16_t i = 0; i < 500; ++i) ASSERT_TRUE(channel.value()->send(message_of(i, i * 37U)));
  for (std::uint16_t i = 0; i < 500; ++i) {
    const Message message = server_inbox_.message();
    ASSERT_EQ(message.type, i);
    ASSERT_EQ(message.epoch, 7U);
    ASSERT_EQ(message.payload, message_of(i, i * 37U).payload);
  }
  ASSERT_TRUE(server_side->send(message_of(9, 5)));
  EXPECT_EQ(inbox.message().type, 9);
  EXPECT_EQ(channel.value()->counters().messages_sent, 500U);
  EXPECT_EQ(server_side->counters().messages_received, 500U);
}

TEST_F(TlsNetworkTest, ALargePayloadArrivesAndALargerOneIsRefused) {
  const auto client = network(rank(0));
  Inbox inbox;
  const auto channel = connect(*client, inbox);
  ASSERT_TRUE(channel);
  ASSERT_TRUE(channel.value()->send(message_of(1, kMaxPayload)));
  EXPECT_EQ(server_inbox_.message().payload.size(), kMaxPayload);
  EXPECT_FALSE(channel.value()->send(message_of(1, kMaxPayload + 1)));
}

TEST_F(TlsNetworkTest, ClosingSendsWhatIsQueuedAndTellsBothSides) {
  const auto client = network(rank(0));
  Inbox inbox;
  const auto channel = connect(*client, inbox);
  ASSERT_TRUE(channel);
  for (std::uint16_t i = 0; i < 50; ++i) ASSERT_TRUE(channel.value()->send(message_of(i, 100'000)));
  channel.value()->close();
  EXPECT_FALSE(channel.value()->send(message_of(1, 1)));
  for (std::uint16_t i = 0; i < 50; ++i) ASSERT_EQ(server_inbox_.message().type, i);
  ASSERT_TRUE(server_inbox_.closed());
  EXPECT_EQ(server_inbox_.closed()->kind, FailureKind::kLost);
  ASSERT_TRUE(inbox.closed());
  EXPECT_EQ(inbox.closed()->kind, FailureKind::kAborted);
}

TEST_F(TlsNetworkTest, AFullQueueRefusesAndQueuesNothing) {
  NetworkLimits limits;
  limits.queue_bytes = 1'000'000;
  const auto client = network(rank(0), limits);
  Inbox inbox;
  const auto channel = connect(*client, inbox);
  ASSERT_TRUE(channel);
  std::uint64_t taken = 0;
  bool was_full = false;
  for (int i = 0; i < 20'000 && !was_full; ++i) {
    const auto sent = channel.value()->send(message_of(1, 400'000));
    was_full = !sent;
    if (sent) ++taken;
    if (was_full) {
      EXPECT_EQ(sent.failure().kind, FailureKind::kConflict);
    }
  }
  ASSERT_TRUE(was_full);
  channel.value()->close();
  for (std::uint64_t i = 0; i < taken; ++i) ASSERT_EQ(server_inbox_.message().type, 1);
}

TEST_F(TlsNetworkTest, AnotherProcessThanExpectedIsRefused) {
  const auto client = network(rank(0));
  Inbox inbox;
  const auto channel = connect(*client, inbox, rank(5));
  ASSERT_FALSE(channel);
  EXPECT_EQ(channel.failure().kind, FailureKind::kRefused);
  EXPECT_THAT(channel.failure().message, HasSubstr("is launcher 0, not rank 5"));
}

TEST_F(TlsNetworkTest, ACertificateOfAnotherAuthorityIsRefused) {
  const auto stranger = network(rank(0, "other"));
  Inbox inbox;
  const auto channel = connect(*stranger, inbox);
  ASSERT_FALSE(channel);
  EXPECT_EQ(channel.failure().kind, FailureKind::kRefused) << channel.failure().message;
}

TEST_F(TlsNetworkTest, NobodyThereAndAPortThatIsTakenAreNamed) {
  const auto client = network(rank(0));
  Inbox inbox;
  std::string address = listener_->address();
  EXPECT_THROW(
      {
        try {
          (void)client->listen(address, {});
        } catch (const Error& error) {
          EXPECT_EQ(error.where(), address);
          throw;
        }
      },
      Error);
  listener_.reset();
  EXPECT_THROW((void)client->listen("nonsense", {}), Error);
}

TEST_F(TlsNetworkTest, TheEndOfANetworkEndsItsChannels) {
  auto client = network(rank(0));
  Inbox inbox;
  auto channel = connect(*client, inbox);
  ASSERT_TRUE(channel);
  ASSERT_NE(accepted(), nullptr);
  client.reset();
  ASSERT_TRUE(inbox.closed());
  EXPECT_EQ(inbox.closed()->kind, FailureKind::kAborted);
  ASSERT_TRUE(server_inbox_.closed());
  EXPECT_EQ(server_inbox_.closed()->kind, FailureKind::kLost);
  EXPECT_FALSE(channel.value()->send(message_of(1, 1)));
}

TEST_F(TlsNetworkTest, TheEmbeddedStoreWorksOverIt) {
  const auto store_network = network(launcher());
  const auto server = make_embedded_store_server(*store_network, "127.0.0.1:0", "job");
  const auto first_network = network(rank(0));
  const auto second_network = network(rank(1));
  const auto first = make_embedded_store(*first_network, server->address(), launcher());
  const auto second = make_embedded_store(*second_network, server->address(), launcher());
  auto watch = second->watch("ranks/0/", 0);
  ASSERT_TRUE(watch) << watch.failure().message;
  ASSERT_TRUE(first->put("ranks/0/hello", "there"));
  const auto batch = watch.value()->next(kPatience);
  ASSERT_TRUE(batch);
  ASSERT_EQ(batch.value().events.size(), 1U);
  EXPECT_EQ(batch.value().events[0].entry.value, "there");
  const auto forbidden = first->put("ranks/1/hello", "there");
  ASSERT_FALSE(forbidden);
  EXPECT_EQ(forbidden.failure().kind, FailureKind::kRefused);
}

class CredentialsTest : public ::testing::Test {
 protected:
  std::string file(const std::string& name) { return (folder_ / name).string(); }
  static std::string error_of(const std::string& place) {
    try {
      (void)read_credentials(place);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("concerto-credentials-" + std::to_string(::getpid()));
  JobAuthority authority_{"job"};
};

TEST_F(CredentialsTest, FilesAreForTheirUserAlone) {
  const Credentials credentials = authority_.issue(rank(2));
  write_credentials(credentials, file("own"));
  const Credentials read = read_credentials(file("own"));
  EXPECT_EQ(read.certificate, credentials.certificate);
  EXPECT_EQ(read.private_key, credentials.private_key);
  EXPECT_EQ(read.authority, credentials.authority);
  EXPECT_THROW(write_credentials(credentials, file("own")), Error);  // never over another file
  ::chmod(file("own").c_str(), 0640);
  EXPECT_THAT(error_of(file("own")), HasSubstr("can be read or written by others (mode 640); chmod 600"));
  EXPECT_THAT(error_of(file("absent")), HasSubstr("cannot be opened"));
  EXPECT_THAT(error_of("fd:x"), HasSubstr("not a descriptor"));
  std::ofstream(file("short")) << "-----BEGIN CERTIFICATE-----\n";
  ::chmod(file("short").c_str(), 0600);
  EXPECT_THAT(error_of(file("short")), HasSubstr("no CERTIFICATE in the credentials"));
}

TEST_F(CredentialsTest, AnInheritedDescriptorIsReadToItsEnd) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Credentials credentials = authority_.issue(rank(2));
  const std::string text = to_text(credentials);
  ASSERT_EQ(::write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  ::close(ends[1]);
  EXPECT_EQ(read_credentials("fd:" + std::to_string(ends[0])).private_key, credentials.private_key);
}

TEST_F(CredentialsTest, AnAuthorityIssuesForItsOwnJobAndHasAFingerprint) {
  EXPECT_THROW((void)authority_.issue(rank(0, "other")), Error);
  EXPECT_THROW(JobAuthority("no name"), Error);
  EXPECT_EQ(authority_.fingerprint().size(), 64U);
  EXPECT_NE(authority_.fingerprint(), JobAuthority("job").fingerprint());
}

}  // namespace
}  // namespace concerto
