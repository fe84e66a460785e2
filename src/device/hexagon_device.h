// Tickets and graphs of the device `hexagon`; see hexagon.h.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "device/hexagon_channel.h"
#include "shadowattn/device.h"

namespace shadowattn {

/// Requests go out as slots of the channel are free; a thread reads the replies and completes
/// tickets. One mutex guards everything but the operands.
class HexagonDevice final : public Device {
 public:
  HexagonDevice(std::unique_ptr<HexagonChannel> channel, std::chrono::milliseconds timeout);
  ~HexagonDevice() override;

  /// Starts the thread and asks the program what it can do. Once, first.
  Status greet();

  const DeviceCapabilities& capabilities() const override { return capabilities_; }
  Status reserve(int64_t bytes) override;
  std::byte* memory() override { return memory_; }
  Result<Ticket> compile(GraphId id, const GraphSpec& spec) override;
  Status release(GraphId id) override;
  Result<Ticket> submit(const Launch& launch) override;
  Status wait(Ticket ticket, int32_t head, Clock::time_point deadline, HeadTiming* timing) override;

  pid_t process() const { return channel_->pid(); }

 private:
  union Message {
    HexagonHeader header;
    HexagonMapRequest map;
    HexagonCompileRequest compile;
    HexagonReleaseRequest release;
    HexagonLaunchRequest launch;
  };
  struct Request {
    HexagonCommand command = kHexagonHello;
    uint32_t size = 0;
    Ticket ticket = 0;      // 0: nobody waits
    uint64_t sequence = 0;  // once sent
    Message message{};
  };
  struct TicketState {
    Ticket ticket = 0;
    int32_t heads = 0;
    int32_t done = 0;
    int64_t last_ns = 0;  // submitted, then the end of the last head
    Status status;
    std::array<HeadTiming, kHexagonMaxHeads> timing{};
  };

  // All with the mutex held.
  Result<Ticket> enqueue(Request& request, int32_t heads);
  Status send_pending();
  TicketState& state_of(Ticket ticket);
  Status check_launch(const Launch& launch) const;
  void lose(Status status) noexcept;
  Status complete(const HexagonHelloReply& reply);
  Status complete_head(const HexagonReply& reply, TicketState& state);
  Status adopt(const HexagonHelloReply& reply);

  void read_replies() noexcept;

  std::unique_ptr<HexagonChannel> channel_;
  DeviceCapabilities capabilities_;
  std::byte* memory_ = nullptr;
  int64_t memory_bytes_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<GraphId, GraphSpec> graphs_;
  std::deque<Request> pending_;
  std::deque<Request> in_flight_;  // sent, oldest first
  std::vector<TicketState> tickets_;
  Ticket last_ticket_ = 0;
  int32_t unfinished_ = 0;  // tickets
  Status lost_;             // not ok: the device is
  std::thread reader_;
};

}  // namespace shadowattn
