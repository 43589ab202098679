// Wires between sockets.
#include "relay.hpp"

#include <array>
#include <chrono>
#include <deque>
#include <utility>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

namespace concerto::bench {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Code = boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kUp = 0;
constexpr std::size_t kDown = 1;
/// Read at a time: small beside what a wire holds, so that a rate is smooth.
constexpr std::size_t kPiece = std::size_t{8} << 10;

Microseconds now() {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now().time_since_epoch()).count();
}

tcp::endpoint endpoint_of(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  return {asio::ip::make_address(address.substr(0, colon)),
          static_cast<std::uint16_t>(std::stoul(address.substr(colon + 1)))};
}

/// At a time of now().
void wait_until(asio::steady_timer& timer, Microseconds when) {
  timer.expires_at(Clock::time_point(std::chrono::duration_cast<Clock::duration>(std::chrono::microseconds(when))));
}

class Wire;

}  // namespace

struct Relay::State {
  State(asio::io_context& its_io, std::uint64_t its_seed) : io(its_io), seed(its_seed) {}
  asio::io_context& io;
  const std::uint64_t seed;
  std::array<WireShape, 2> shapes;
  bool is_cut = false;
  bool is_held = false;
  RelayCounts counts;
  std::uint64_t made = 0;  ///< wires, the next one's among them
  std::vector<std::shared_ptr<tcp::acceptor>> acceptors;
  std::vector<std::weak_ptr<Wire>> wires;
};

namespace {

/// Both directions of one connection.
class Wire : public std::enable_shared_from_this<Wire> {
 public:
  Wire(const std::shared_ptr<Relay::State>& state, std::uint64_t number)
      : state_(state),
        ends_{tcp::socket(state->io), tcp::socket(state->io)},
        ways_{Way(state->io, Shaper(state->shapes[kUp], state->seed, 2 * number)),
              Way(state->io, Shaper(state->shapes[kDown], state->seed, 2 * number + 1))} {}

  [[nodiscard]] tcp::socket& accepted() { return ends_[0]; }
  void start(const tcp::endpoint& to) {
    ends_[1].async_connect(to, [self = shared_from_this()](const Code& error) {
      if (error) return self->end();
      Code ignored;
      for (tcp::socket& one : self->ends_) one.set_option(tcp::no_delay(true), ignored);
      self->read(kUp);
      self->read(kDown);
    });
  }
  void end() {
    const std::shared_ptr<Wire> self = std::exchange(held_, nullptr);
    Code ignored;
    for (tcp::socket& one : ends_) {
      one.set_option(asio::socket_base::linger(true, 0), ignored);
      one.close(ignored);
    }
    for (Way& way : ways_) {
      way.reading.cancel();
      way.writing.cancel();
    }
  }
  void change() {
    for (const std::size_t way : {kUp, kDown}) ways_[way].shaper.change(state_->shapes[way]);
  }
  /// After a hold.
  void go_on() {
    const std::shared_ptr<Wire> self = std::exchange(held_, nullptr);
    for (const std::size_t way : {kUp, kDown}) {
      if (std::exchange(ways_[way].is_read_held, false)) read(way);
      if (std::exchange(ways_[way].is_write_held, false)) deliver(way);
    }
  }

 private:
  struct Piece {
    Microseconds due = 0;
    std::vector<std::byte> bytes;  ///< empty: the source has ended
  };
  struct Way {
    Way(asio::io_context& io, const Shaper& its_shaper) : shaper(its_shaper), reading(io), writing(io) {}
    Shaper shaper;
    asio::steady_timer reading;
    asio::steady_timer writing;
    std::vector<std::byte> buffer = std::vector<std::byte>(kPiece);
    std::deque<Piece> under_way;
    bool is_delivering = false;
    bool is_read_held = false;
    bool is_write_held = false;
  };

  void read(std::size_t direction) {
    Way& way = ways_[direction];
    if (state_->is_held) {
      way.is_read_held = true;
      held_ = shared_from_this();
      return;
    }
    if (const Microseconds at = way.shaper.next_room(now()); way.shaper.room(now()) == 0) {
      wait_until(way.reading, at);
      way.reading.async_wait([self = shared_from_this(), direction](const Code& error) {
        if (!error) self->read(direction);
      });
      return;
    }
    ends_[direction].async_read_some(
        asio::buffer(way.buffer), [self = shared_from_this(), direction](const Code& error, std::size_t bytes) {
          Way& mine = self->ways_[direction];
          if (error && error != asio::error::eof) return self->end();
          const auto* const begin = mine.buffer.data();
          mine.under_way.push_back({mine.shaper.arrival(now(), bytes), {begin, begin + bytes}});
          if (!mine.is_delivering) self->deliver(direction);
          if (!error) self->read(direction);
        });
  }

  void deliver(std::size_t direction) {
    Way& way = ways_[direction];
    way.is_delivering = !way.under_way.empty();
    if (!way.is_delivering) return;
    wait_until(way.writing, way.under_way.front().due);
    way.writing.async_wait([self = shared_from_this(), direction](const Code& error) {
      if (!error) self->write(direction);
    });
  }

  void write(std::size_t direction) {
    Way& way = ways_[direction];
    if (state_->is_held) {
      way.is_write_held = true;
      held_ = shared_from_this();
      return;
    }
    tcp::socket& to = ends_[1 - direction];
    const std::vector<std::byte>& bytes = way.under_way.front().bytes;
    if (bytes.empty()) {
      Code ignored;
      to.shutdown(tcp::socket::shutdown_send, ignored);
      return;
    }
    asio::async_write(to, asio::buffer(bytes),
                      [self = shared_from_this(), direction](const Code& error, std::size_t n) {
                        if (error) return self->end();
                        (direction == kUp ? self->state_->counts.up : self->state_->counts.down) += n;
                        self->ways_[direction].under_way.pop_front();
                        self->deliver(direction);
                      });
  }

  std::shared_ptr<Relay::State> state_;
  std::array<tcp::socket, 2> ends_;  ///< by the direction that comes from it
  std::array<Way, 2> ways_;
  std::shared_ptr<Wire> held_;  ///< itself, during a hold: no operation that is under way keeps it then
};

void accept_next(const std::shared_ptr<Relay::State>& state, const std::shared_ptr<tcp::acceptor>& acceptor,
                 const tcp::endpoint& to) {
  const auto wire = std::make_shared<Wire>(state, state->made++);
  acceptor->async_accept(wire->accepted(), [state, acceptor, to, wire](const Code& error) {
    if (!acceptor->is_open()) return;
    if (!error) {
      std::erase_if(state->wires, [](const auto& weak) { return weak.expired(); });
      ++state->counts.connections;
      if (state->is_cut) {
        wire->end();
      } else {
        wire->change();
        state->wires.push_back(wire);
        wire->start(to);
      }
    }
    accept_next(state, acceptor, to);
  });
}

template <class Call>
void for_each_wire(Relay::State& state, const Call& call) {
  for (const auto& weak : state.wires) {
    if (const auto wire = weak.lock()) call(*wire);
  }
}

}  // namespace

Relay::Relay(asio::io_context& io, std::uint64_t seed) : state_(std::make_shared<State>(io, seed)) {}
Relay::~Relay() = default;

std::string Relay::forward(const std::string& from, const std::string& to) {
  auto acceptor = std::make_shared<tcp::acceptor>(state_->io, endpoint_of(from));
  state_->acceptors.push_back(acceptor);
  accept_next(state_, acceptor, endpoint_of(to));
  const tcp::endpoint at = acceptor->local_endpoint();
  return fmt::format("{}:{}", at.address().to_string(), at.port());
}

std::string Relay::command(const std::string& line) {
  const std::size_t space = std::min(line.find(' '), line.size());
  const std::string word = line.substr(0, space);
  const std::string rest = line.substr(space);
  if (word == "counts") {
    const RelayCounts& all = state_->counts;
    return fmt::format("connections {} up {} down {}", all.connections, all.up, all.down);
  }
  if (word == "up" || word == "down" || word == "both") {
    for (const std::size_t way : {kUp, kDown}) {
      if (word == (way == kUp ? "down" : "up")) continue;
      const auto shape = parse_shape(rest, state_->shapes[way]);
      if (!shape) return "error: no shape of a wire:" + rest;
      state_->shapes[way] = *shape;
    }
    for_each_wire(*state_, [](Wire& wire) { wire.change(); });
    return "ok";
  }
  if (word == "cut") {
    state_->is_cut = true;
    for_each_wire(*state_, [](Wire& wire) { wire.end(); });
    return "ok";
  }
  if (word == "hold") {
    state_->is_held = true;
    return "ok";
  }
  if (word == "heal") {
    state_->is_cut = state_->is_held = false;
    for_each_wire(*state_, [](Wire& wire) { wire.go_on(); });
    return "ok";
  }
  return "error: no such command: " + line;
}

RelayCounts Relay::counts() const {
  return state_->counts;
}

void Relay::stop() {
  Code ignored;
  for (const auto& acceptor : state_->acceptors) acceptor->close(ignored);
  state_->acceptors.clear();
  for_each_wire(*state_, [](Wire& wire) { wire.end(); });
}

}  // namespace concerto::bench
