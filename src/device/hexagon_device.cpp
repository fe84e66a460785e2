#include "device/hexagon_device.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

namespace shadowattn {
namespace {

constexpr int32_t kQueueDepth = kHexagonRequestSlots;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             Device::Clock::now().time_since_epoch())
      .count();
}

// The program takes the multiplier as an argument, so a graph is an entry in a table.
int64_t table_entry_bytes(const GraphSpec&) { return 64; }

Status failed(const char* message) { return {StatusCode::kDeviceFailed, message}; }

Status out_of_memory() { return {StatusCode::kOutOfMemory, {}}; }

// A device does not throw.
template <typename Work>
auto without_throwing(Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, {});
  }
}

// What an answer means for the caller; kDeviceFailed: for the device.
Status status_of(int32_t status) {
  switch (status) {
    case kHexagonOk:
      return {};
    case kHexagonBadGraph:
    case kHexagonGraphsFull:
      return Status::unsupported("hexagon: the program refused the graph");
    case kHexagonMapFailed:
      return {StatusCode::kOutOfMemory, "hexagon: the program cannot map so much memory"};
    default:
      return failed("hexagon: the program refused a message");
  }
}

}  // namespace

HexagonDevice::HexagonDevice(std::unique_ptr<HexagonChannel> channel,
                             std::chrono::milliseconds timeout)
    : channel_(std::move(channel)), tickets_(std::size_t{4} * kQueueDepth) {
  capabilities_.name = "hexagon";
  capabilities_.description =
      "Hexagon HVX code in qemu-hexagon: proves the arithmetic and the path to a DSP, not speed";
  capabilities_.queue_depth = kQueueDepth;
  capabilities_.concurrent = true;
  capabilities_.timeout = timeout;
  capabilities_.graph_bytes = table_entry_bytes;
}

HexagonDevice::~HexagonDevice() {
  channel_->close();
  if (reader_.joinable()) reader_.join();
}

Status HexagonDevice::greet() {
  try {
    reader_ = std::thread([this] { read_replies(); });
  } catch (const std::system_error&) {
    return {StatusCode::kOutOfMemory, "hexagon: cannot start a thread"};
  }
  Result<Ticket> ticket = [this] {
    const std::lock_guard<std::mutex> lock(mutex_);
    Request request;
    request.command = kHexagonHello;
    request.size = sizeof(HexagonHeader);
    return enqueue(request, 1);
  }();
  if (!ticket.ok()) return ticket.status();
  return wait(ticket.value(), 0, Clock::now() + capabilities_.timeout, nullptr);
}

Status HexagonDevice::adopt(const HexagonHelloReply& reply) {
  const HexagonGraph& most = reply.most;
  const HexagonGraph& multiple = reply.multiple;
  const bool sane = reply.reply.header.size == sizeof(reply) && reply.memory_bytes > 0 &&
                    reply.memory_bytes <= kHexagonMaxMemoryBytes && reply.graphs > 0 &&
                    most.heads > 0 && most.heads <= kHexagonMaxHeads && most.rows > 0 &&
                    most.keys > 0 && most.dim > 0 && most.rows <= kHexagonMaxRows &&
                    most.keys <= kHexagonMaxKeys && most.dim <= kHexagonMaxDim &&
                    multiple.rows > 0 && multiple.keys > 0 && multiple.dim > 0;
  if (!sane) return failed("hexagon: the program's limits make no sense");
  capabilities_.max_heads = most.heads;
  capabilities_.max_rows = most.rows;
  capabilities_.max_keys = most.keys;
  capabilities_.max_dim = most.dim;
  capabilities_.row_multiple = multiple.rows;
  capabilities_.key_multiple = multiple.keys;
  capabilities_.dim_multiple = multiple.dim;
  capabilities_.max_graphs = reply.graphs;
  capabilities_.max_graph_bytes = int64_t{reply.graphs} * table_entry_bytes({});
  // The last page also holds what the kernel reads beyond an operand.
  capabilities_.max_memory_bytes = int64_t{reply.memory_bytes} - kHexagonVectorBytes;
  capabilities_.max_tensor_bytes = capabilities_.max_memory_bytes;
  return {};
}

Status HexagonDevice::reserve(int64_t bytes) {
  return without_throwing([&]() -> Status {
    if (bytes < 0) return Status::invalid_argument("hexagon: a negative amount of memory");
    Result<Ticket> ticket = Ticket{0};
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!lost_.ok()) return lost_;
      if (unfinished_ > 0) {
        return Status::invalid_argument("hexagon: memory can only grow when nothing is in flight");
      }
      if (bytes <= memory_bytes_) return {};
      if (bytes > capabilities_.max_memory_bytes) {
        return {StatusCode::kOutOfMemory, "hexagon: more memory than the program can map"};
      }
      const int64_t page = kHexagonPageBytes;
      const int64_t whole = (bytes + kHexagonVectorBytes + page - 1) / page * page;
      memory_ = nullptr;
      memory_bytes_ = 0;
      Status status = channel_->grow(whole);
      if (!status.ok()) return status;
      Request request;
      request.command = kHexagonMap;
      request.size = sizeof(HexagonMapRequest);
      request.message.map = {{}, static_cast<uint32_t>(channel_->operand_bytes()), 0};
      ticket = enqueue(request, 1);
      if (!ticket.ok()) return ticket.status();
    }
    Status status = wait(ticket.value(), 0, Clock::now() + capabilities_.timeout, nullptr);
    if (!status.ok()) return status;
    memory_ = channel_->operands();
    memory_bytes_ = channel_->operand_bytes() - kHexagonVectorBytes;
    return {};
  });
}

Result<Ticket> HexagonDevice::compile(GraphId id, const GraphSpec& spec) {
  return without_throwing([&]() -> Result<Ticket> {
    Status status = capabilities_.supports(spec);
    if (!status.ok()) return status;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!lost_.ok()) return lost_;
    if (unfinished_ >= kQueueDepth) return Status::invalid_argument("hexagon: the queue is full");
    if (graphs_.size() >= static_cast<std::size_t>(capabilities_.max_graphs)) {
      return Status::invalid_argument("hexagon: too many graphs");
    }
    if (!graphs_.emplace(id, spec).second) {
      return Status::invalid_argument("hexagon: the id of the graph is taken");
    }
    Request request;
    request.command = kHexagonCompile;
    request.size = sizeof(HexagonCompileRequest);
    request.message.compile = {{},
                               id,
                               {spec.heads, spec.rows, spec.keys, spec.dim,
                                spec.requantisation.mantissa, spec.requantisation.shift},
                               0};
    Result<Ticket> ticket = enqueue(request, 1);
    if (!ticket.ok()) graphs_.erase(id);
    return ticket;
  });
}

Status HexagonDevice::release(GraphId id) {
  return without_throwing([&]() -> Status {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!lost_.ok()) return lost_;
    if (graphs_.find(id) == graphs_.end()) {
      return Status::invalid_argument("hexagon: no such graph");
    }
    Request request;
    request.command = kHexagonRelease;
    request.size = sizeof(HexagonReleaseRequest);
    request.message.release = {{}, id, 0};
    Result<Ticket> none = enqueue(request, 0);
    if (none.ok()) graphs_.erase(id);
    return none.status();
  });
}

Status HexagonDevice::check_launch(const Launch& launch) const {
  const auto found = graphs_.find(launch.graph);
  if (found == graphs_.end()) return Status::invalid_argument("hexagon: no such graph");
  const GraphSpec& spec = found->second;
  if (launch.heads.size() != static_cast<std::size_t>(spec.heads)) {
    return Status::invalid_argument("hexagon: a launch with another number of heads");
  }
  const auto inside = [this](int64_t offset, int64_t bytes) {
    return offset >= 0 && offset % kDeviceAlignment == 0 && offset <= memory_bytes_ - bytes;
  };
  for (const LaunchHead& head : launch.heads) {
    if (!inside(head.query, spec.query_bytes()) || !inside(head.key, spec.key_bytes()) ||
        !inside(head.scores, spec.score_bytes())) {
      return Status::invalid_argument("hexagon: an operand is misaligned or outside the memory");
    }
  }
  return {};
}

Result<Ticket> HexagonDevice::submit(const Launch& launch) {
  return without_throwing([&]() -> Result<Ticket> {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!lost_.ok()) return lost_;
    if (unfinished_ >= kQueueDepth) return Status::invalid_argument("hexagon: the queue is full");
    Status status = check_launch(launch);
    if (!status.ok()) return status;
    const auto heads = static_cast<int32_t>(launch.heads.size());
    Request request;
    request.command = kHexagonLaunch;
    request.size = static_cast<uint32_t>(offsetof(HexagonLaunchRequest, heads) +
                                         launch.heads.size() * sizeof(HexagonHead));
    request.message.launch = {};
    request.message.launch.graph = launch.graph;
    request.message.launch.head_count = heads;
    for (std::size_t h = 0; h < launch.heads.size(); ++h) {
      const LaunchHead& head = launch.heads[h];
      request.message.launch.heads[h] = {static_cast<uint32_t>(head.query),
                                         static_cast<uint32_t>(head.key),
                                         static_cast<uint32_t>(head.scores)};
    }
    return enqueue(request, heads);
  });
}

// heads = 0: without a ticket.
Result<Ticket> HexagonDevice::enqueue(Request& request, int32_t heads) {
  if (heads > 0) request.ticket = last_ticket_ + 1;
  try {
    pending_.push_back(request);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
  if (heads > 0) {
    TicketState& state = state_of(++last_ticket_);
    state = {};
    state.ticket = last_ticket_;
    state.heads = heads;
    state.last_ns = now_ns();
    ++unfinished_;
  }
  Status status = send_pending();
  if (!status.ok()) {
    lose(status);
    return status;
  }
  return request.ticket;
}

Status HexagonDevice::send_pending() {
  while (!pending_.empty() && in_flight_.size() < kHexagonRequestSlots) {
    Request& request = pending_.front();
    try {
      in_flight_.push_back(request);
    } catch (const std::bad_alloc&) {
      return out_of_memory();
    }
    Request& sent = in_flight_.back();
    Result<uint64_t> sequence = channel_->post(sent.command, &sent.message, sent.size);
    if (!sequence.ok()) return sequence.status();
    sent.sequence = sequence.value();
    pending_.pop_front();
  }
  return {};
}

HexagonDevice::TicketState& HexagonDevice::state_of(Ticket ticket) {
  return tickets_[static_cast<std::size_t>(ticket) % tickets_.size()];
}

Status HexagonDevice::wait(Ticket ticket, int32_t head, Clock::time_point deadline,
                           HeadTiming* timing) {
  return without_throwing([&]() -> Status {
    std::unique_lock<std::mutex> lock(mutex_);
    if (ticket <= 0 || ticket > last_ticket_) {
      return Status::invalid_argument("hexagon: no such ticket");
    }
    TicketState& state = state_of(ticket);
    const auto forgotten = [&] { return state.ticket != ticket; };
    if (!forgotten() && (head < 0 || head >= state.heads)) {
      return Status::invalid_argument("hexagon: no such head");
    }
    const auto decided = [&] {
      return forgotten() || state.done > head || !state.status.ok() || !lost_.ok();
    };
    if (!changed_.wait_until(lock, deadline, decided)) {
      // Whether it is only slow cannot be known, and its late writes would be taken for new ones.
      lose(failed("hexagon: given up, the program did not answer in time"));
      return {StatusCode::kTimedOut, "hexagon: the program did not answer in time"};
    }
    if (forgotten()) return Status::invalid_argument("hexagon: the ticket is too old");
    if (state.done > head) {
      if (timing) *timing = state.timing[static_cast<std::size_t>(head)];
      return {};
    }
    return state.status.ok() ? lost_ : state.status;
  });
}

void HexagonDevice::lose(Status status) noexcept {
  if (!lost_.ok()) return;
  lost_ = std::move(status);
  channel_->close();
  changed_.notify_all();
}

Status HexagonDevice::complete(const HexagonHelloReply& message) {
  const HexagonReply& reply = message.reply;
  if (in_flight_.empty() || reply.request != in_flight_.front().sequence ||
      reply.header.command != in_flight_.front().command) {
    return failed("hexagon: the program answered what was not asked");
  }
  const Request& request = in_flight_.front();
  Status status = status_of(reply.status);
  if (!status.ok() && status.code() == StatusCode::kDeviceFailed) return status;
  bool last = true;
  if (request.ticket != 0) {
    TicketState& state = state_of(request.ticket);
    if (!status.ok()) {
      state.status = std::move(status);
    } else {
      if (request.command == kHexagonHello) status = adopt(message);
      if (status.ok()) status = complete_head(reply, state);
      if (!status.ok()) return status;
      last = state.done == state.heads;
    }
    if (last) --unfinished_;
  }
  if (last) in_flight_.pop_front();
  changed_.notify_all();
  return send_pending();
}

Status HexagonDevice::complete_head(const HexagonReply& reply, TicketState& state) {
  if (reply.head != state.done) return failed("hexagon: heads were finished out of order");
  // Its clock is ours in an emulator; wherever it is not, what is seen from here stands.
  const int64_t now = now_ns();
  HeadTiming& timing = state.timing[static_cast<std::size_t>(reply.head)];
  const bool plausible =
      reply.start_ns >= state.last_ns && reply.start_ns <= reply.end_ns && reply.end_ns <= now;
  timing.start_ns = plausible ? reply.start_ns : state.last_ns;
  timing.end_ns = plausible ? reply.end_ns : now;
  state.last_ns = timing.end_ns;
  ++state.done;
  return {};
}

void HexagonDevice::read_replies() noexcept {
  for (;;) {
    Status status;
    try {
      HexagonHelloReply reply{};
      status = channel_->receive(reply);
      const std::lock_guard<std::mutex> lock(mutex_);
      if (status.ok()) status = complete(reply);
      if (!status.ok()) lose(std::move(status));
      if (!lost_.ok()) return;
    } catch (const std::bad_alloc&) {
      const std::lock_guard<std::mutex> lock(mutex_);
      lose(out_of_memory());
      return;
    }
  }
}

}  // namespace shadowattn
