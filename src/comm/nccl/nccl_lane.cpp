// Operations over one NCCL communicator, a phase at a time.
#include "nccl_lane.hpp"

#include <cstring>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "concerto/base/check.hpp"

namespace concerto {

using nccl::Status;

NcclLane::NcclLane(const nccl::Api& api, NcclDevice& device, OperationBook& book, Rank rank, Rank size)
    : api_(api), device_(device), book_(book), rank_(rank), size_(size) {
  const std::size_t bytes = (std::size_t{size} + 1) * kHeaderBytes;
  stream_ = device_.open_stream();
  device_headers_ = device_.allocate(bytes);
  host_headers_ = device_.allocate_on_host(bytes);
}

NcclLane::~NcclLane() {
  CONCERTO_CHECK(comm_ == nullptr, "an NCCL communicator is neither finished nor aborted");
  if (passed_ != nullptr) device_.release(passed_);
  device_.close_stream(stream_);
  device_.free_on_host(host_headers_);
  device_.free(device_headers_);
}

void NcclLane::call(Status status, const char* action) {
  if (status == Status::kSuccess || status == Status::kInProgress) return;
  throw std::runtime_error(fmt::format("NCCL cannot {}: {}", action, api_.error_string(status)));
}

std::optional<NcclTrouble> NcclLane::connect(const nccl::UniqueId& id) {
  nccl::Config config;
  phase_ = Phase::kConnecting;
  try {
    call(api_.comm_init(&comm_, static_cast<int>(size_), id, static_cast<int>(rank_), &config), "connect");
  } catch (const std::exception& error) {
    return NcclTrouble{FailureKind::kUnreachable, error.what(), {}};
  }
  return std::nullopt;
}

std::optional<NcclTrouble> NcclLane::poll() {
  if (comm_ == nullptr || phase_ == Phase::kFinished) return std::nullopt;
  try {
    Status state = Status::kSuccess;
    call(api_.get_async_error(comm_, &state), "say how it is");
    if (state == Status::kInProgress) return std::nullopt;
    call(state, phase_ == Phase::kConnecting ? "connect" : "go on");
    return step();
  } catch (const std::exception& error) {
    std::vector<Rank> suspects;
    if (!queue_.empty() && queue_.front().partner != kNoRank) suspects = {queue_.front().partner};
    return NcclTrouble{phase_ == Phase::kConnecting ? FailureKind::kUnreachable : FailureKind::kLost, error.what(),
                       std::move(suspects)};
  }
}

std::optional<NcclTrouble> NcclLane::step() {
  if (phase_ == Phase::kConnecting) phase_ = Phase::kIdle;
  if (phase_ == Phase::kFinishing) {
    call(api_.comm_destroy(std::exchange(comm_, nullptr)), "end");
    phase_ = Phase::kFinished;
    return std::nullopt;
  }
  if (phase_ == Phase::kIdle) {
    if (queue_.empty()) return std::nullopt;
    phase_ = Phase::kHeaders;
    queue_.front().record->set_awaited(queue_.front().partner);
    exchange_headers(queue_.front());
    return std::nullopt;  // what was called may be in progress: the state is asked first
  }
  NcclWork& work = queue_.front();
  if (!is_begun_) {
    // The calls have been taken: from here on the stream holds them.
    if (phase_ == Phase::kHeaders) {
      device_.copy(stream_, host_headers_ + kHeaderBytes, device_headers_ + kHeaderBytes, size_ * kHeaderBytes);
    }
    passed_ = device_.mark(stream_);
    is_begun_ = true;
  }
  if (!device_.is_reached(passed_)) return std::nullopt;
  device_.release(std::exchange(passed_, nullptr));
  is_begun_ = false;
  if (phase_ == Phase::kPayload || work.calls.empty()) {
    std::optional<NcclTrouble> trouble;
    if (phase_ == Phase::kHeaders) trouble = compare_headers(work);
    if (!trouble) complete();
    return trouble;
  }
  std::optional<NcclTrouble> trouble = compare_headers(work);
  if (trouble) return trouble;
  phase_ = Phase::kPayload;
  move_payload(work);
  return std::nullopt;
}

void NcclLane::exchange_headers(const NcclWork& work) {
  const HeaderBytes mine = encode(work.header);
  std::memcpy(host_headers_, mine.data(), mine.size());
  device_.copy(stream_, device_headers_, host_headers_, kHeaderBytes);
  std::byte* received = device_headers_ + kHeaderBytes;
  if (work.partner == kNoRank) {
    call(api_.all_gather(device_headers_, received, kHeaderBytes, nccl::kBytes, comm_, stream_), "exchange headers");
    book_.count_header((size_ - 1) * kHeaderBytes);
    return;
  }
  const int partner = static_cast<int>(work.partner);
  received += work.partner * kHeaderBytes;
  call(api_.group_start(), "begin a group");
  call(api_.send(device_headers_, kHeaderBytes, nccl::kBytes, partner, comm_, stream_), "send a header");
  call(api_.receive(received, kHeaderBytes, nccl::kBytes, partner, comm_, stream_), "receive a header");
  call(api_.group_end(), "exchange headers");
  book_.count_header(kHeaderBytes);
}

std::optional<NcclTrouble> NcclLane::compare_headers(const NcclWork& work) const {
  for (Rank peer = 0; peer < size_; ++peer) {
    if (peer == rank_ || (work.partner != kNoRank && work.partner != peer)) continue;
    HeaderBytes received;
    std::memcpy(received.data(), host_headers_ + (std::size_t{peer} + 1) * kHeaderBytes, kHeaderBytes);
    if (std::optional<Failure> failure = disagreement(work.header, received, peer)) {
      return NcclTrouble{failure->kind, std::move(failure->message), {peer}};
    }
  }
  return std::nullopt;
}

void NcclLane::move_payload(const NcclWork& work) {
  if (work.ready != nullptr) device_.follow(stream_, work.ready);
  call(api_.group_start(), "begin a group");
  for (const NcclCall& one : work.calls) put(one);
  call(api_.group_end(), "move what was asked");
}

void NcclLane::put(const NcclCall& one) {
  const int peer = static_cast<int>(one.peer);
  switch (one.kind) {
    case NcclCall::Kind::kSend:
      return call(api_.send(one.give, one.bytes, nccl::kBytes, peer, comm_, stream_), "send");
    case NcclCall::Kind::kReceive:
      return call(api_.receive(one.take, one.bytes, nccl::kBytes, peer, comm_, stream_), "receive");
    case NcclCall::Kind::kBroadcast:
      return call(api_.broadcast(one.give, one.take, one.bytes, nccl::kBytes, peer, comm_, stream_), "broadcast");
    case NcclCall::Kind::kAllGather:
      return call(api_.all_gather(one.give, one.take, one.bytes, nccl::kBytes, comm_, stream_), "gather");
    case NcclCall::Kind::kCopy:
      return device_.copy(stream_, one.take, one.give, one.bytes);
  }
}

void NcclLane::release_marks(NcclWork& work) noexcept {
  if (work.ready != nullptr) device_.release(std::exchange(work.ready, nullptr));
}

void NcclLane::complete() {
  phase_ = Phase::kIdle;
  NcclWork work = std::move(queue_.front());
  queue_.pop_front();
  release_marks(work);
  book_.count_sent(work.sent);
  book_.count_received(work.received);
  work.record->add_moved(work.sent + work.received);
  book_.complete(work.record);
}

std::optional<NcclTrouble> NcclLane::finish() {
  CONCERTO_CHECK(is_idle(), "a lane ends with work in it");
  phase_ = Phase::kFinishing;
  try {
    call(api_.comm_finalize(comm_), "finish");
  } catch (const std::exception& error) {
    return NcclTrouble{FailureKind::kLost, error.what(), {}};
  }
  return std::nullopt;
}

nccl::Comm NcclLane::release() noexcept {
  return std::exchange(comm_, nullptr);
}

void NcclLane::drop_all() {
  while (!queue_.empty()) {
    NcclWork work = std::move(queue_.front());
    queue_.pop_front();
    release_marks(work);
    book_.drop(work.record);
  }
}

}  // namespace concerto
