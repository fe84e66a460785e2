// The pipeline of one call: the device estimates ahead while the CPU selects and attends.
//
//   groups   launches of several KV heads of a run of query tiles, one launch per tile of keys
//   slots    buffers for the operands and scores of one group each; a group is launched as soon as
//            a slot is free, in the planned order
//   jobs     one KV head of a group; handed to a CPU thread as soon as the device has done it
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "device/device_scores.h"
#include "device/graph_bank.h"
#include "device/launch_groups.h"
#include "device/shape_buckets.h"
#include "device/stage_times.h"
#include "plan/call_context.h"

namespace shadowattn {

/// Adds the counters and times of `part`, and its note when there was none.
void add_counters(const DeviceReport& part, DeviceReport* sum);

class LaunchQueue {
 public:
  /// A KV head of a group whose scores are there.
  struct Job {
    const LaunchGroup* group = nullptr;
    int64_t kv_head = 0;
    int32_t slot = 0;
    DeviceScores scores;  ///< until the job is given back
  };

  struct Parts {
    const CallContext& context;
    Device& device;
    GraphBank& bank;
    StageTimes& times;
    const DeviceLayout& layout;
    const std::vector<HeadBucket>& buckets;  ///< [KV heads]
    std::chrono::milliseconds timeout;
    uint64_t check_seed = 0;  ///< which scores are checked
  };

  /// `groups` and `order` (indices into groups) must outlive the queue. Throws std::bad_alloc.
  LaunchQueue(const Parts& parts, std::span<const LaunchGroup> groups,
              std::span<const int32_t> order);

  /// The next job in the planned order, once its scores are there and a sample of them was found
  /// right. Launches what free slots allow. nullopt when no job is left or the device is lost.
  /// From any CPU thread `lane`; a thread must give a job back before it asks for the next.
  std::optional<Job> next(int32_t lane);

  /// The scores of the job are no longer needed.
  void done(const Job& job);

  /// To be called when no thread is in `next` any more: waits for what was queued in vain, so that
  /// nothing is in flight unless the device is lost.
  void drain();

  /// What the CPU took for a job, for the stage times.
  void observe_cpu(int64_t pairs, int64_t kept, int64_t select_ns, int64_t attend_ns);

  /// Why the device is lost; ok when it is not. Once no thread is in `next`.
  const Status& status() const { return status_; }
  /// The device answered wrongly: nothing that it computed in this call can be trusted.
  bool wrong() const { return wrong_; }
  const DeviceReport& report() const { return report_; }

 private:
  struct Slot {
    int64_t group = -1;  ///< position in the order; -1: free
    int32_t heads_left = 0;
    bool refused = false;                             ///< some graph of it was not compiled
    size_t launched = 0;                              ///< key tiles
    std::vector<Ticket> tickets;                      ///< per key tile
    std::vector<GraphId> graphs;                      ///< per key tile
    std::vector<LaunchHead> operands;                 ///< [key tiles][heads]
    std::vector<DeviceScores::KeyTileScores> scores;  ///< [heads][key tiles]
    std::vector<float> query_scale;                   ///< [heads][row bucket]
  };

  /// A head whose turn it is.
  struct Turn {
    const LaunchGroup& group;
    Slot& slot;
    int32_t head;
    bool last;  ///< of its group
    uint64_t seed;
  };

  /// What was queued on the device; launches with their last head.
  struct Operation {
    Ticket ticket = 0;
    int32_t head = 0;
  };

  void submit_ahead(int32_t lane);
  Status submit(const LaunchGroup& group, Slot& slot, int64_t slot_offset, int32_t lane);
  void lay_out(const LaunchGroup& group, Slot& slot, int64_t slot_offset);
  Status launch(const LaunchGroup& group, Slot& slot);
  Result<GraphId> find_graph(const GraphSpec& spec);
  GraphSpec spec(const LaunchGroup& group, size_t key_tile) const;

  /// Waits until the device's queue takes one more operation; false: it is lost.
  bool make_room();
  void queued(const Operation& operation);
  /// Ok as well when the operation was refused: it has ended.
  Status wait_for(const Operation& operation);

  /// Launches ahead and waits for a slot if need be; nullopt when no head is left.
  std::optional<Turn> take_turn(std::unique_lock<std::mutex>& lock, int32_t lane);
  /// Waits for the scores of a head and checks a sample of them. `tile`: the one of the key tiles
  /// that an error is about.
  Status fetch(const Turn& turn, const Job& job, int32_t lane, size_t* tile, DeviceReport* seen);
  Status await(const Turn& turn, int32_t lane, size_t* tile, DeviceReport* seen);
  Job make_job(const Turn& turn) const;
  void observe_device(const LaunchGroup& group, const Slot& slot);
  /// A head that is not to be had: its group's other heads are not either.
  void refuse(std::unique_lock<std::mutex>& lock, const Turn& turn);
  void finish_head(std::unique_lock<std::mutex>& lock, Slot& slot);

  const Parts parts_;
  const std::span<const LaunchGroup> groups_;
  const std::span<const int32_t> order_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<Slot> slots_;  ///< group g of the order has slot g modulo their number
  int64_t submitted_ = 0;    ///< groups, in the planned order
  int64_t next_group_ = 0;   ///< of the next job
  int32_t next_head_ = 0;
  int64_t handed_out_ = 0;
  std::vector<Operation> operations_;  ///< the last ones, as many as the device's queue holds
  int64_t queued_ = 0;
  Status status_;
  bool wrong_ = false;
  DeviceReport report_;
};

}  // namespace shadowattn
