// A device with other limits or habits than the one that does its work.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "device_problem.h"
#include "engine_problem.h"
#include "shadowattn/device.h"
#include "shadowattn/engine.h"

namespace shadowattn::test {

/// Passes everything on. Tests override what is to go wrong.
class ChangedDevice : public Device {
 public:
  using Change = std::function<void(DeviceCapabilities&)>;

  explicit ChangedDevice(std::unique_ptr<Device> inner, const Change& change = {})
      : inner_(std::move(inner)), capabilities_(inner_->capabilities()) {
    if (change) change(capabilities_);
  }
  explicit ChangedDevice(const DeviceOptions& options, const Change& change = {})
      : ChangedDevice(open(options), change) {}

  const DeviceCapabilities& capabilities() const override { return capabilities_; }
  Status reserve(int64_t bytes) override {
    if (bytes > capabilities_.max_memory_bytes) {
      return {StatusCode::kOutOfMemory, "more than there is"};
    }
    return inner_->reserve(bytes);
  }
  std::byte* memory() override { return inner_->memory(); }
  Result<Ticket> compile(GraphId id, const GraphSpec& spec) override {
    if (Status status = capabilities_.supports(spec); !status.ok()) return status;
    return inner_->compile(id, spec);
  }
  Status release(GraphId id) override { return inner_->release(id); }
  Result<Ticket> submit(const Launch& launch) override { return inner_->submit(launch); }
  Status wait(Ticket ticket, int32_t head, Clock::time_point deadline,
              HeadTiming* timing) override {
    return inner_->wait(ticket, head, deadline, timing);
  }

 private:
  std::unique_ptr<Device> inner_;
  DeviceCapabilities capabilities_;
};

/// Takes an operation only when it was asked how the one queue_depth before it went, and forgets
/// tickets as soon as it may: no device is stricter.
class StrictDevice final : public ChangedDevice {
 public:
  using ChangedDevice::ChangedDevice;

  Result<Ticket> compile(GraphId id, const GraphSpec& spec) override {
    if (full()) return Status::invalid_argument("the queue is full");
    return count(ChangedDevice::compile(id, spec));
  }
  Result<Ticket> submit(const Launch& launch) override {
    if (full()) return Status::invalid_argument("the queue is full");
    return count(ChangedDevice::submit(launch));
  }
  Status wait(Ticket ticket, int32_t head, Clock::time_point deadline,
              HeadTiming* timing) override {
    if (ticket < next_ - 4 * capabilities().queue_depth) {
      return Status::invalid_argument("a ticket that is forgotten");
    }
    Status status = ChangedDevice::wait(ticket, head, deadline, timing);
    int64_t ended = ended_;
    while (ended <= ticket && !ended_.compare_exchange_weak(ended, ticket + 1)) {
    }
    return status;
  }
  Status reserve(int64_t bytes) override {
    if (ended_ != next_) return Status::invalid_argument("work is in flight");
    return ChangedDevice::reserve(bytes);
  }

 private:
  bool full() const { return next_ - ended_ >= capabilities().queue_depth; }
  Result<Ticket> count(Result<Ticket> ticket) {
    if (ticket.ok()) next_ = ticket.value() + 1;
    return ticket;
  }

  std::atomic<int64_t> next_{0};
  std::atomic<int64_t> ended_{0};
};

/// An engine that must exist, with this device (null: the one of the options) and without a gate.
inline Engine make_device_engine(EngineOptions options, std::unique_ptr<Device> device = nullptr) {
  options.gate = false;
  Result<Engine> engine = Engine::create(test::fixed_keep(options), nullptr, std::move(device));
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return std::move(engine).value();
}

}  // namespace shadowattn::test
