// Tickets of a device's queue: which operation is done up to which head, how it went, who waits.
// Operations end in the order of their tickets, heads of an operation in theirs.
//
// One thread pushes. Any thread may wait. One worker (or the pushing thread itself) ends heads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "shadowattn/device.h"

namespace shadowattn {

/// For members that must not throw: a status whose message needs no memory.
inline Status out_of_memory() { return {StatusCode::kOutOfMemory, "no memory"}; }

/// As HeadTiming counts.
inline int64_t clock_ns(Device::Clock::time_point time) {
  return std::chrono::nanoseconds(time.time_since_epoch()).count();
}

class DeviceQueue {
 public:
  using Clock = Device::Clock;

  /// `depth` operations in flight, of at most `max_heads` heads each. Throws std::bad_alloc; after
  /// that only messages take memory.
  DeviceQueue(int32_t depth, int32_t max_heads);

  // --- the pushing thread ---

  /// The ticket that `push` will give; an error when the queue is full or the device is lost.
  Result<Ticket> next_ticket() const;
  /// Queues an operation of `heads` heads (1 for a compilation) under next_ticket(). What the
  /// worker needs of it must be in place.
  void push(int32_t heads);
  /// True when nothing is in flight.
  bool idle() const;

  /// Device::wait. A wait that times out loses the device.
  Status wait(Ticket ticket, int32_t head, Clock::time_point deadline, HeadTiming* timing);

  // --- the worker ---

  /// Sleeps until `ticket` has been pushed; false: closed.
  bool wait_for_push(Ticket ticket);
  /// Sleeps until `time`; false: closed.
  bool sleep_until(Clock::time_point time);
  /// The head, the next one of the oldest operation in flight, is done; its waiters wake.
  void end_head(Ticket ticket, int32_t head, const HeadTiming& timing);
  /// The rest of the oldest operation in flight is not going to be done; the device goes on.
  void fail(Ticket ticket, Status status);
  /// Nothing more is going to be done. Operations that are not done fail with this status, which
  /// must be an error; what ends later is ignored. Only the first call counts.
  void lose(Status status);

  /// Wakes the worker for good.
  void close();
  bool closed() const;

 private:
  struct Record {
    Ticket ticket = -1;
    int32_t heads = 0;
    int32_t done = 0;
    Status status;
    std::vector<HeadTiming> timing;
  };

  Record& record(Ticket ticket) { return records_[static_cast<size_t>(ticket) % records_.size()]; }
  Status check(Ticket ticket, int32_t head);
  bool decided(Ticket ticket, int32_t head);
  void lose_locked(Status status);

  const int32_t depth_;
  mutable std::mutex mutex_;
  std::condition_variable pushed_;  ///< for the worker
  std::condition_variable ended_;   ///< for those who wait
  std::vector<Record> records_;     ///< of the last 4 · depth tickets
  Ticket next_ = 0;
  Ticket ended_before_ = 0;  ///< all tickets below are done or failed
  Status lost_;              ///< not ok: the device is lost
  bool closed_ = false;
};

}  // namespace shadowattn
