// A peer that is who it says it is and then sends bytes that are no frames: over a raw socket, and over a raw session
// of TLS.
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>

#include "framing.hpp"
#include "links.hpp"

namespace concerto {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ::testing::HasSubstr;

tcp::endpoint endpoint_of(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  return {asio::ip::make_address(address.substr(0, colon)),
          static_cast<std::uint16_t>(std::stoul(address.substr(colon + 1)))};
}

struct Garbage {
  std::string name;
  std::vector<std::byte> bytes;
  std::string words;  ///< in what is told
};

std::vector<Garbage> all_garbage() {
  std::vector<std::byte> damaged = encode_frame(numbered(3, 10'000));
  damaged[5'000] ^= std::byte{1};
  std::vector<std::byte> flagged = encode_frame(numbered(3, 10));
  flagged[6] = std::byte{1};
  std::vector<std::byte> huge = encode_frame(numbered(3, 10));
  std::fill_n(huge.begin() + 12, 4, std::byte{0xff});
  return {{"no frame", std::vector<std::byte>(100, std::byte{'x'}), "no frame of this version"},
          {"a damaged payload", damaged, "whose checksum does not match"},
          {"unknown flags", flagged, "unknown flags"},
          {"a payload beyond the limit", huge, "announces 4294967295 bytes"}};
}

class GarbageOver : public ::testing::TestWithParam<Kind> {
 protected:
  /// What the server is told of a peer that greets as rank 1 should and then sends `bytes` after a sound message.
  Failure verdict_on(const std::vector<std::byte>& bytes) {
    JobAuthority authority("job");
    const auto server = GetParam() == Kind::kTls ? make_tls_network(authority.issue(rank_identity(0)))
                                                 : make_plain_network(rank_identity(0));
    Arrivals<Failure> ends;
    Arrivals<Message> messages;
    const auto listener = server->listen("127.0.0.1:0", [&](const std::shared_ptr<Channel>& channel) {
      channel_ = channel;
      ChannelEvents events;
      events.on_message = [&](Channel&, Message message) { messages.add(std::move(message)); };
      events.on_closed = [&](Channel&, const Failure& failure) { ends.add(failure); };
      return events;
    });
    std::vector<std::byte> all = encode_frame(numbered(1, 100));
    all.insert(all.end(), bytes.begin(), bytes.end());
    asio::io_context io;
    if (GetParam() == Kind::kTls) {
      const Credentials credentials = authority.issue(rank_identity(1));
      asio::ssl::context context(asio::ssl::context::tls_client);
      context.use_certificate_chain(asio::buffer(credentials.certificate));
      context.use_private_key(asio::buffer(credentials.private_key), asio::ssl::context::pem);
      asio::ssl::stream<tcp::socket> stream(io, context);
      stream.next_layer().connect(endpoint_of(listener->address()));
      stream.handshake(asio::ssl::stream_base::client);
      asio::write(stream, asio::buffer(all));
      return told(messages, ends);
    }
    tcp::socket socket(io);
    socket.connect(endpoint_of(listener->address()));
    const std::string uri = to_uri(rank_identity(1));
    asio::write(socket, asio::buffer("COP1" + std::string(1, static_cast<char>(uri.size())) + '\0' + uri));
    asio::write(socket, asio::buffer(all));
    return told(messages, ends);
  }

 private:
  static Failure told(Arrivals<Message>& messages, Arrivals<Failure>& ends) {
    const auto sound = messages.next();
    EXPECT_TRUE(sound && is_numbered(*sound, 1, 100));
    const auto end = ends.next();
    EXPECT_EQ(messages.size(), 0U);
    return end.value_or(Failure{FailureKind::kTimeout, "nothing"});
  }
  std::shared_ptr<Channel> channel_;
};

TEST_P(GarbageOver, CutsThePeerOffAndNamesIt) {
  for (const Garbage& garbage : all_garbage()) {
    SCOPED_TRACE(garbage.name);
    const Failure failure = verdict_on(garbage.bytes);
    EXPECT_EQ(failure.kind, FailureKind::kCorrupt);
    EXPECT_THAT(failure.message, HasSubstr("rank 1 at 127.0.0.1:"));
    EXPECT_THAT(failure.message, HasSubstr(garbage.words));
    EXPECT_THAT(failure.message, HasSubstr("it is cut off"));
  }
}

INSTANTIATE_TEST_SUITE_P(All, GarbageOver, ::testing::Values(Kind::kTls, Kind::kPlain), name_of);

}  // namespace
}  // namespace concerto
