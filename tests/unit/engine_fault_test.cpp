// Devices that fail: the call ends, the output is right, the device is not asked again.
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "changed_device.h"
#include "engine_problem.h"
#include "shadow_cases.h"

namespace shadowattn {
namespace {

using test::attend;
using test::bits;
using test::ChangedDevice;
using test::make_device_engine;
using test::make_engine;
using test::Problem;
using test::StrictDevice;

constexpr ElementType kF16 = ElementType::kF16;
constexpr int64_t kRows = 150;
constexpr int64_t kKvHeads = 3;

Problem problem() {
  Problem p({6, kKvHeads, kRows, 500, 32, 32, kF16});
  test::causal(p);
  return p;
}

EngineOptions options_with(int threads, bool device = true) {
  EngineOptions options = {
      .keep = 0.1, .keep_floor = 0, .sink = 2, .recent = 8, .threads = threads};
  if (!device) return options;
  options.device.name = "npu-sim";
  options.device.fuse_heads = 2;
  options.device.timeout_ms = 300000;  // a safety net
  return options;
}

std::vector<uint32_t> expected(bool device) {
  Problem p = problem();
  Engine engine =
      device ? make_device_engine(options_with(1)) : make_engine(options_with(1, false));
  const CallReport report = attend(engine, p);
  EXPECT_EQ(report.device.rows, device ? kRows * kKvHeads : 0);
  return bits(p);
}

const std::vector<uint32_t>& cpu_bits() {
  static const std::vector<uint32_t> all = expected(false);
  return all;
}

const std::vector<uint32_t>& device_bits() {
  static const std::vector<uint32_t> all = expected(true);
  return all;
}

/// Every output row is the CPU's or the device's, never a third. Returns how many can only be the
/// device's.
int64_t expect_rows_of_either(const Problem& p) {
  const std::vector<uint32_t> got = bits(p);
  const std::vector<uint32_t>& cpu = cpu_bits();
  const std::vector<uint32_t>& device = device_bits();
  const auto dim = static_cast<size_t>(p.shape.value_dim);
  int64_t of_device = 0;
  for (size_t i = 0; i < got.size(); i += dim) {
    const auto same = [&](const std::vector<uint32_t>& all) {
      return std::equal(all.begin() + std::ptrdiff_t(i), all.begin() + std::ptrdiff_t(i + dim),
                        got.begin() + std::ptrdiff_t(i));
    };
    EXPECT_TRUE(same(cpu) || same(device)) << "row " << i / dim;
    of_device += !same(cpu) && same(device) ? 1 : 0;
  }
  return of_device;
}

void expect_sums(const CallReport& report) {
  EXPECT_EQ(report.device.rows + report.device.cpu_rows, kRows * kKvHeads);
  EXPECT_GT(report.kept_pairs, 0);
  EXPECT_LT(report.kept_pairs, report.visible_pairs);
}

/// All the work of a call that the device has no part in.
void expect_cpu_only(Engine& engine, Problem& p) {
  const CallReport report = attend(engine, p);
  EXPECT_EQ(bits(p), cpu_bits());
  EXPECT_EQ(report.device.rows, 0);
  EXPECT_EQ(report.device.launches, 0);
  EXPECT_NE(report.device.note, "");
  expect_sums(report);
}

TEST(EngineFault, TheTwoEstimatesDiffer) {
  // Else the tests below could not tell them apart.
  EXPECT_NE(cpu_bits(), device_bits());
}

// --- Faults of npu-sim ---------------------------------------------------------------------------

struct FaultCase {
  std::string label;
  DeviceFault fault = DeviceFault::kNone;
  int32_t at = 0;
  int threads = 1;
  PipelineMode pipeline = PipelineMode::kPlanned;

  friend void PrintTo(const FaultCase& c, std::ostream* out) { *out << c.label; }
};

std::vector<FaultCase> fault_cases() {
  const std::pair<const char*, DeviceFault> faults[] = {{"slow", DeviceFault::kSlow},
                                                        {"late", DeviceFault::kLate},
                                                        {"hang", DeviceFault::kHang},
                                                        {"lost", DeviceFault::kLost},
                                                        {"wrong", DeviceFault::kWrong}};
  std::vector<FaultCase> cases;
  for (const auto& [name, fault] : faults) {
    for (const int at : {0, 1, 3, 7, 12}) {
      for (const int threads : {1, 2, 4}) {
        for (const auto& [mode, pipeline] :
             {std::pair{"planned", PipelineMode::kPlanned}, std::pair{"off", PipelineMode::kOff}}) {
          if (pipeline == PipelineMode::kOff && (threads != 2 || at % 3 != 0)) continue;
          cases.push_back({std::string(name) + "_at_" + std::to_string(at) + "_threads_" +
                               std::to_string(threads) + "_" + mode,
                           fault, at, threads, pipeline});
        }
      }
    }
  }
  return cases;
}

/// Counts waits that timed out.
class CountingDevice final : public ChangedDevice {
 public:
  CountingDevice(const DeviceOptions& options, std::atomic<int>* timeouts)
      : ChangedDevice(options, [](DeviceCapabilities& c) { c.max_rows = 128; }),  // more launches
        timeouts_(timeouts) {}

  Status wait(Ticket ticket, int32_t head, Clock::time_point deadline,
              HeadTiming* timing) override {
    Status status = ChangedDevice::wait(ticket, head, deadline, timing);
    if (status.code() == StatusCode::kTimedOut) ++*timeouts_;
    return status;
  }

 private:
  std::atomic<int>* timeouts_;
};

class EngineFaultTest : public testing::TestWithParam<FaultCase> {};

TEST_P(EngineFaultTest, TheCallEndsWithTheRightOutput) {
  const FaultCase& c = GetParam();
  EngineOptions options = options_with(c.threads);
  options.device.pipeline = c.pipeline;
  options.device.fault = c.fault;
  options.device.fault_at = c.at;
  const bool times_out = c.fault == DeviceFault::kHang || c.fault == DeviceFault::kLate;
  if (times_out) options.device.timeout_ms = 40;
  std::atomic<int> timeouts{0};
  Engine engine =
      make_device_engine(options, std::make_unique<CountingDevice>(options.device, &timeouts));
  Problem p = problem();
  // A fault may meet the first or the second call.
  bool lost = false;
  for (int call = 0; call < 4; ++call) {
    const CallReport report = attend(engine, p);
    expect_sums(report);
    const bool just_lost = !lost && report.device.note != "";
    lost = report.device.note != "";
    if (c.fault == DeviceFault::kWrong) {
      // Whatever the device said in a call in which it was found out is thrown away.
      EXPECT_EQ(bits(p), lost ? cpu_bits() : device_bits());
    } else if (lost && !just_lost) {
      EXPECT_EQ(bits(p), cpu_bits());
    } else if (!lost) {
      EXPECT_EQ(bits(p), device_bits());
    } else {
      const int64_t of_device = expect_rows_of_either(p);
      EXPECT_TRUE(of_device == 0 || report.device.rows > 0);
    }
    if (lost && !just_lost) {
      EXPECT_EQ(report.device.launches, 0);
    }
    if (lost) {
      EXPECT_NE(report.device.note.find("not used any more"), std::string::npos);
    }
  }
  EXPECT_EQ(lost, c.fault != DeviceFault::kSlow);
  EXPECT_LE(timeouts, times_out ? 1 : 0);
  if (times_out && c.at == 0) {
    EXPECT_EQ(timeouts, 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, EngineFaultTest, testing::ValuesIn(fault_cases()),
                         [](const auto& param) { return param.param.label; });

TEST(EngineFault, NoMemoryOnTheDevice) {
  for (const int at : {0, 2}) {
    EngineOptions options = options_with(2);
    options.device.fault = DeviceFault::kOutOfMemory;
    options.device.fault_at = at;
    Engine engine = make_device_engine(options);
    Problem p = problem();
    if (at > 0) {
      attend(engine, p);
      EXPECT_EQ(bits(p), device_bits());
    }
    expect_cpu_only(engine, p);
    expect_cpu_only(engine, p);
  }
}

TEST(EngineFault, RefusedGraphsAreTheCpus) {
  for (const int threads : {1, 2, 4}) {
    for (const int at : {0, 1, 3, 7}) {
      EngineOptions options = options_with(threads);
      options.device.fault = DeviceFault::kRefuse;
      options.device.fault_at = at;
      Engine engine = make_device_engine(options);
      Problem p = problem();
      int64_t refused = 0;
      for (int call = 0; call < 3; ++call) {
        const CallReport report = attend(engine, p);
        expect_sums(report);
        expect_rows_of_either(p);
        refused += report.device.refused_tiles;
        if (at == 0) {
          EXPECT_EQ(bits(p), cpu_bits());
        }
        if (report.device.refused_tiles > 0) {
          EXPECT_NE(report.device.note, "");
        } else {
          EXPECT_EQ(bits(p), device_bits());
        }
        // Asked for once, then known.
        if (call > 0) {
          EXPECT_EQ(report.device.compiled_graphs, 0);
        }
      }
      EXPECT_TRUE(at > 0 || refused > 0);
    }
  }
}

TEST(EngineFault, ADestructorRightAfterAFault) {
  for (const DeviceFault fault :
       {DeviceFault::kHang, DeviceFault::kLate, DeviceFault::kLost, DeviceFault::kWrong}) {
    EngineOptions options = options_with(2);
    options.device.fault = fault;
    options.device.fault_at = 4;
    options.device.timeout_ms = 40;
    Problem p = problem();
    {
      Engine engine = make_device_engine(options);
      attend(engine, p);
    }
    expect_rows_of_either(p);
    { Engine unused = make_device_engine(options); }
  }
}

TEST(EngineFault, SeveralEnginesAtOnce) {
  const DeviceFault faults[] = {DeviceFault::kNone, DeviceFault::kHang, DeviceFault::kWrong,
                                DeviceFault::kRefuse};
  cpu_bits();
  device_bits();
  std::vector<std::thread> threads;
  for (const DeviceFault fault : faults) {
    threads.emplace_back([fault] {
      EngineOptions options = options_with(2);
      options.device.fault = fault;
      options.device.fault_at = fault == DeviceFault::kRefuse ? 0 : 3;
      if (fault == DeviceFault::kHang) options.device.timeout_ms = 40;
      Engine engine = make_device_engine(options);
      Problem p = problem();
      for (int call = 0; call < 3; ++call) {
        attend(engine, p);
        expect_rows_of_either(p);
      }
      EXPECT_EQ(bits(p) == device_bits(), fault == DeviceFault::kNone);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(EngineFault, MovedEnginesKeepTheirDevice) {
  Engine first = make_device_engine(options_with(2));
  Problem p = problem();
  attend(first, p);
  Engine second = std::move(first);
  EXPECT_EQ(attend(second, p).device.compiled_graphs, 0);
  EXPECT_EQ(bits(p), device_bits());
}

// --- Devices that no option plays ----------------------------------------------------------------

/// Fails one of its members in a way of one's choice, from the n-th call on.
class FailingDevice final : public ChangedDevice {
 public:
  enum class Member { kReserve, kCompile, kRelease, kSubmit, kWait };

  FailingDevice(Member member, Status status, int64_t first, const char* inner,
                const Change& change = {})
      : ChangedDevice(options(inner), change),
        member_(member),
        status_(std::move(status)),
        first_(first) {}

  Status reserve(int64_t bytes) override {
    return fails(Member::kReserve) ? status_ : ChangedDevice::reserve(bytes);
  }
  Result<Ticket> compile(GraphId id, const GraphSpec& spec) override {
    if (fails(Member::kCompile)) return status_;
    return ChangedDevice::compile(id, spec);
  }
  Status release(GraphId id) override {
    return fails(Member::kRelease) ? status_ : ChangedDevice::release(id);
  }
  Result<Ticket> submit(const Launch& launch) override {
    if (fails(Member::kSubmit)) return status_;
    return ChangedDevice::submit(launch);
  }
  Status wait(Ticket ticket, int32_t head, Clock::time_point deadline,
              HeadTiming* timing) override {
    return fails(Member::kWait) ? status_ : ChangedDevice::wait(ticket, head, deadline, timing);
  }

 private:
  static DeviceOptions options(const char* inner) {
    DeviceOptions o;
    o.name = inner;
    o.timeout_ms = 300000;
    return o;
  }
  bool fails(Member member) { return member == member_ && calls_++ >= first_; }

  Member member_;
  Status status_;
  int64_t first_;
  std::atomic<int64_t> calls_{0};
};

TEST(EngineFault, AnyErrorOfAnyMemberAtAnyTime) {
  using Member = FailingDevice::Member;
  for (const Member member :
       {Member::kReserve, Member::kCompile, Member::kRelease, Member::kSubmit, Member::kWait}) {
    for (const StatusCode code :
         {StatusCode::kInvalidArgument, StatusCode::kUnsupported, StatusCode::kOutOfMemory,
          StatusCode::kInternal, StatusCode::kTimedOut, StatusCode::kDeviceFailed}) {
      for (const int64_t first : {0, 1, 5}) {
        SCOPED_TRACE(testing::Message() << int(member) << " " << int(code) << " " << first);
        const auto few_graphs = [](DeviceCapabilities& c) {
          c.max_graphs = 1;  // so that graphs are released
          c.max_keys = 256;
        };
        Engine engine = make_device_engine(
            options_with(2),
            std::make_unique<FailingDevice>(member, Status(code, "a failure that a test asked for"),
                                            first, first == 1 ? "cpu" : "npu-sim", few_graphs));
        Problem p = problem();
        for (int call = 0; call < 2; ++call) {
          const CallReport report = attend(engine, p);
          expect_sums(report);
          expect_rows_of_either(p);
          if (report.device.rows < kRows * kKvHeads) {
            EXPECT_NE(report.device.note, "");
          }
        }
      }
    }
  }
}

/// Gives tickets that it does not know.
class GarbageTickets final : public ChangedDevice {
 public:
  using ChangedDevice::ChangedDevice;
  Result<Ticket> submit(const Launch& launch) override {
    const Result<Ticket> ticket = ChangedDevice::submit(launch);
    if (!ticket.ok()) return ticket;
    return ticket.value() * 7919 + 1000003;
  }
};

TEST(EngineFault, GarbageTickets) {
  Engine engine =
      make_device_engine(options_with(2), std::make_unique<GarbageTickets>(options_with(1).device));
  Problem p = problem();
  for (int call = 0; call < 2; ++call) {
    const CallReport report = attend(engine, p);
    EXPECT_EQ(bits(p), cpu_bits());
    EXPECT_NE(report.device.note, "");
    expect_sums(report);
  }
}

/// Spoils the scores of one kind of graph; "cpu" has computed them when submit returns.
class SpoilsOneGraph final : public ChangedDevice {
 public:
  SpoilsOneGraph(int8_t add, int32_t keys, const Change& change)
      : ChangedDevice(DeviceOptions(), change), add_(add), keys_(keys) {}

  Result<Ticket> compile(GraphId id, const GraphSpec& spec) override {
    specs_[id] = spec;
    return ChangedDevice::compile(id, spec);
  }
  Result<Ticket> submit(const Launch& launch) override {
    Result<Ticket> ticket = ChangedDevice::submit(launch);
    const GraphSpec& spec = specs_[launch.graph];
    if (!ticket.ok() || spec.keys != keys_) return ticket;
    for (const LaunchHead& head : launch.heads) {
      auto* scores = reinterpret_cast<int8_t*>(memory() + head.scores);
      for (int64_t i = 0; i < spec.score_bytes(); ++i) {
        scores[i] = add_ == -128 ? int8_t{-128} : static_cast<int8_t>(scores[i] ^ add_);
      }
    }
    return ticket;
  }

 private:
  int8_t add_;
  int32_t keys_;
  std::map<GraphId, GraphSpec> specs_;
};

TEST(EngineFault, OneWrongGraphIsEnough) {
  int64_t invalid = 0;
  for (const int threads : {1, 3}) {
    for (const int8_t add : {int8_t{1}, int8_t{-128}}) {
      for (const float sign : {1.0F, -1.0F}) {
        Problem cpu = problem();
        cpu.call.scale *= sign;
        Engine reference = make_engine(options_with(1, false));
        attend(reference, cpu);
        Problem p = problem();
        p.call.scale *= sign;
        Engine engine = make_device_engine(
            options_with(threads), std::make_unique<SpoilsOneGraph>(
                                       add, 128, [](DeviceCapabilities& c) { c.max_keys = 192; }));
        for (int call = 0; call < 2; ++call) {
          const CallReport report = attend(engine, p);
          EXPECT_EQ(bits(p), bits(cpu)) << "call " << call;
          EXPECT_EQ(report.device.rows, 0);
          EXPECT_NE(report.device.note.find("wrong scores"), std::string::npos);
          invalid += report.device.invalid_scores;
          expect_sums(report);
        }
      }
    }
  }
  EXPECT_GT(invalid, 0) << "a byte of -128 is no score";
}

/// Refuses the graphs of one number of keys, as a device does: later, with launches of others
/// still in flight.
class RefusesOneGraph final : public ChangedDevice {
 public:
  RefusesOneGraph(const DeviceOptions& options, int32_t keys, const Change& change)
      : ChangedDevice(options, change), keys_(keys) {}

  Result<Ticket> compile(GraphId id, const GraphSpec& spec) override {
    const std::lock_guard lock(mutex_);
    refused_graphs_.erase(id);
    if (spec.keys == keys_) refused_graphs_.insert(id);
    return ChangedDevice::compile(id, spec);
  }
  Result<Ticket> submit(const Launch& launch) override {
    Result<Ticket> ticket = ChangedDevice::submit(launch);
    const std::lock_guard lock(mutex_);
    if (ticket.ok() && refused_graphs_.count(launch.graph) != 0) {
      refused_tickets_.insert(ticket.value());
    }
    return ticket;
  }
  Status wait(Ticket ticket, int32_t head, Clock::time_point deadline,
              HeadTiming* timing) override {
    Status status = ChangedDevice::wait(ticket, head, deadline, timing);
    const std::lock_guard lock(mutex_);
    return refused_tickets_.count(ticket) != 0 ? Status::unsupported("refused") : status;
  }

 private:
  int32_t keys_;
  std::mutex mutex_;
  std::set<GraphId> refused_graphs_;
  std::set<Ticket> refused_tickets_;
};

TEST(EngineFault, ARefusedGraphLeavesTheOthersAlone) {
  for (const int threads : {1, 2, 4}) {
    for (const int32_t keys : {64, 128, 192}) {
      DeviceOptions slow = options_with(1).device;
      slow.launch_us = 300;  // so that there are launches in flight when a slot is given up
      Engine engine = make_device_engine(
          options_with(threads),
          std::make_unique<RefusesOneGraph>(slow, keys, [](DeviceCapabilities& c) {
            c.max_keys = 192;
            c.max_rows = 128;
          }));
      Problem p = problem();
      int64_t of_device = 0;
      for (int call = 0; call < 3; ++call) {
        const CallReport report = attend(engine, p);
        EXPECT_GT(report.device.refused_tiles, 0);
        of_device += report.device.rows;
        expect_rows_of_either(p);
        expect_sums(report);
        EXPECT_EQ(report.device.note.find("not used any more"), std::string::npos)
            << report.device.note;
      }
      // Rows see 351 to 500 keys, cut into 192 + 192 + 64 or 128: all need the first.
      EXPECT_EQ(of_device > 0, keys != 192);
    }
  }
}

TEST(EngineFault, AShortQueueBehindASlowDevice) {
  DeviceOptions slow = options_with(1).device;
  slow.launch_us = 200;
  for (const int32_t depth : {3, 4, 9}) {
    Engine engine = make_device_engine(
        options_with(3), std::make_unique<StrictDevice>(slow, [depth](DeviceCapabilities& c) {
          c.queue_depth = depth;
          c.max_keys = 128;
          c.max_graphs = 2;
        }));
    Problem p = problem();
    for (int call = 0; call < 3; ++call) {
      const CallReport report = attend(engine, p);
      EXPECT_EQ(report.device.note, "");
      EXPECT_EQ(bits(p), device_bits()) << depth;
    }
  }
}

TEST(EngineFault, ContextsLongerThanTheQueue) {
  // 33 tiles of keys for a queue of 32.
  const auto short_tiles = [](DeviceCapabilities& c) { c.max_keys = 64; };
  Problem p({4, 2, 40, 2100, 16, 32, kF16});
  test::causal(p);
  Engine whole = make_device_engine(options_with(1));
  attend(whole, p);
  const std::vector<uint32_t> all = bits(p);
  Engine engine = make_device_engine(
      options_with(2), std::make_unique<ChangedDevice>(options_with(1).device, short_tiles));
  for (int call = 0; call < 2; ++call) {
    const CallReport report = attend(engine, p);
    EXPECT_EQ(report.device.note, "");
    EXPECT_EQ(report.device.rows, 2 * 40);
    EXPECT_EQ(bits(p), all);
  }
}

}  // namespace
}  // namespace shadowattn
