#include "device/device_queue.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

namespace shadowattn {
namespace {

/// Sleeps are cut into pieces of this length, so that no deadline is too far away for the clock.
constexpr std::chrono::hours kLongestSleep{1};

}  // namespace

DeviceQueue::DeviceQueue(int32_t depth, int32_t max_heads) : depth_(depth) {
  records_.resize(static_cast<size_t>(4) * static_cast<size_t>(depth));
  for (Record& r : records_) r.timing.resize(static_cast<size_t>(max_heads));
}

Result<Ticket> DeviceQueue::next_ticket() const try {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!lost_.ok()) return Status(StatusCode::kDeviceFailed, lost_.message());
  if (next_ - ended_before_ >= depth_) {
    return Status::invalid_argument("the device's queue is full: " + std::to_string(depth_) +
                                    " operations are in flight");
  }
  return next_;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

void DeviceQueue::push(int32_t heads) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    Record& r = record(next_);
    r.ticket = next_++;
    r.heads = heads;
    r.done = 0;
    r.status = Status();
  }
  pushed_.notify_one();
}

bool DeviceQueue::idle() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return next_ == ended_before_;
}

Status DeviceQueue::check(Ticket ticket, int32_t head) {
  if (ticket < 0 || ticket >= next_) {
    return Status::invalid_argument("ticket " + std::to_string(ticket) + " was never given");
  }
  const Record& r = record(ticket);
  if (r.ticket != ticket) {
    return Status::invalid_argument("ticket " + std::to_string(ticket) + " is forgotten: only " +
                                    std::to_string(records_.size()) + " are kept");
  }
  if (head < 0 || head >= r.heads) {
    return Status::invalid_argument("ticket " + std::to_string(ticket) + " has no head " +
                                    std::to_string(head));
  }
  return {};
}

/// Whether there is nothing to wait for: done, failed, lost or overwritten.
bool DeviceQueue::decided(Ticket ticket, int32_t head) {
  const Record& r = record(ticket);
  return r.ticket != ticket || head < r.done || !r.status.ok() || !lost_.ok();
}

Status DeviceQueue::wait(Ticket ticket, int32_t head, Clock::time_point deadline,
                         HeadTiming* timing) try {
  std::unique_lock<std::mutex> lock(mutex_);
  if (Status s = check(ticket, head); !s.ok()) return s;
  while (!decided(ticket, head)) {
    const Clock::time_point now = Clock::now();
    if (now >= deadline) {
      lose_locked(
          {StatusCode::kDeviceFailed, "the device was given up: it did not answer in time"});
      return {StatusCode::kTimedOut, "the device did not answer in time"};
    }
    ended_.wait_until(lock, std::min(deadline, now + kLongestSleep));
  }
  if (Status s = check(ticket, head); !s.ok()) return s;
  const Record& r = record(ticket);
  if (head < r.done) {
    if (timing != nullptr) *timing = r.timing[static_cast<size_t>(head)];
    return {};
  }
  return r.status.ok() ? lost_ : r.status;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

bool DeviceQueue::wait_for_push(Ticket ticket) {
  std::unique_lock<std::mutex> lock(mutex_);
  pushed_.wait(lock, [&] { return closed_ || ticket < next_; });
  return !closed_;
}

bool DeviceQueue::sleep_until(Clock::time_point time) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (Clock::time_point now = Clock::now(); !closed_ && now < time; now = Clock::now()) {
    pushed_.wait_until(lock, std::min(time, now + kLongestSleep));
  }
  return !closed_;
}

void DeviceQueue::end_head(Ticket ticket, int32_t head, const HeadTiming& timing) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!lost_.ok()) return;
    Record& r = record(ticket);
    r.timing[static_cast<size_t>(head)] = timing;
    r.done = head + 1;
    if (r.done == r.heads) ended_before_ = ticket + 1;
  }
  ended_.notify_all();
}

void DeviceQueue::fail(Ticket ticket, Status status) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!lost_.ok()) return;
    record(ticket).status = std::move(status);
    ended_before_ = ticket + 1;
  }
  ended_.notify_all();
}

void DeviceQueue::lose(Status status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  lose_locked(std::move(status));
}

void DeviceQueue::lose_locked(Status status) {
  if (lost_.ok()) lost_ = std::move(status);
  ended_.notify_all();
}

void DeviceQueue::close() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
  pushed_.notify_all();
}

bool DeviceQueue::closed() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return closed_;
}

}  // namespace shadowattn
