#include "simulate/attention_call.h"

#include <algorithm>
#include <numeric>

#include "common/failure.h"
#include "common/text.h"
#include "device/shape_buckets.h"
#include "plan/list_plan.h"

namespace shadowattn::tool::simulate {
namespace {

// As in src/device/device_pilot.cpp.
constexpr int64_t kLaunchRows = 512;
constexpr int64_t kSlotBytes = 8 << 20;    // scores of one KV head of a launch
constexpr int64_t kSlotsBytes = 48 << 20;  // of all slots
constexpr int64_t kKeysBytes = 64 << 20;   // keys of the heads that are estimated in one go
constexpr int64_t kMostSlots = 4;

/// What is launched: so many heads, each with `group` query heads' rows.
struct LaunchHeads {
  int64_t heads = 0;
  int64_t group = 1;
};

LaunchHeads launch_heads(const ModelShape& shape, Launches launches) {
  if (launches == Launches::kPublished) return {shape.heads, 1};
  return {shape.kv_heads, shape.group_heads()};
}

LatencyModel npu_times(const SocModel& soc, const PrefillOptions& options) {
  LatencyModel times = soc.graph_times;
  if (options.pilot == Pilot::kOperator) {
    times.operations_per_second = soc.rates.pilot_operations_per_second;
    times.operand_bytes_per_second = 0;
    times.head_ns = 0;
  }
  times.operations_per_second *= options.npu_speed;
  times.operand_bytes_per_second *= options.npu_speed;
  if (options.launch_ms >= 0) times.launch_ns = options.launch_ms * 1e6;
  return times;
}

/// Rows of the prompt per launch; not those of heads together.
int64_t prompt_rows(const ShapeBuckets& shapes, const PrefillOptions& options, int64_t group,
                    int64_t keys) {
  // The published operator is compiled for a whole chunk, and computes all of it for a short one.
  if (options.launches == Launches::kPublished) {
    return std::min<int64_t>(options.chunk, shapes.max_rows());
  }
  // Launches are made of whole tiles, tiles of whole lists (plan/list_plan.h).
  const int64_t list = EngineOptions{}.rows_per_list;
  const int64_t tile = std::max(list, kTileTarget / group / list * list);
  const int64_t most = std::min({kLaunchRows, int64_t{shapes.max_rows()}, kSlotBytes / keys});
  return std::max<int64_t>(1, most / (tile * group)) * tile;
}

int32_t clipped(int64_t count) { return static_cast<int32_t>(std::min<int64_t>(count, INT32_MAX)); }

int64_t padded(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

/// Cuts one call. The names are those of src/device/launch_groups.h.
class CallCutter {
 public:
  CallCutter(const SocModel& soc, const ModelShape& shape, const PrefillOptions& options,
             int64_t first, int64_t rows)
      : soc_(soc),
        shape_(shape),
        options_(options),
        first_(first),
        rows_(rows),
        shapes_(soc.limits),
        heads_(launch_heads(shape, options.launches)),
        dim_(clipped(padded(shape.head_dim, soc.limits.dim_multiple))),
        times_(npu_times(soc, options)),
        share_(sparse_share(shape, options)),
        prompt_rows_(prompt_rows(shapes_, options, heads_.group, first + rows)),
        most_rows_(shapes_.rows(clipped(prompt_rows_ * heads_.group))) {
    choose_fusion();
  }

  CallWork cut() const {
    CallWork call;
    call.quantise_ns = quantise_ns();
    call.slots = slots_;
    call.workers = options_.launches == Launches::kEngine ? options_.cores : 1;
    for (int64_t done = 0; done < rows_; done += prompt_rows_) {
      const int64_t count = std::min(prompt_rows_, rows_ - done);
      for (int64_t head = 0; head < heads_.heads;) {
        const int64_t fused = fused_heads(std::min(fuse_, heads_.heads - head));
        call.launches.push_back(launch(first_ + done, count, fused));
        head += fused;
      }
    }
    return call;
  }

 private:
  [[noreturn]] void fail() const {
    throw Failure(
        "the NPU takes no launch of " + shape_.name + " (" +
        format_count(prompt_rows_ * heads_.group) + " rows of head dim " +
        format_count(shape_.head_dim) + ", " + format_count(first_ + rows_) +
        " keys): the limits in the SoC file are too small for it; --launches published needs less");
  }

  std::vector<KeyTile> key_tiles(int64_t keys) const {
    return shapes_.key_tiles(keys, most_rows_, dim_);
  }

  /// Of `wanted` heads; what is compiled for 1, 2, 4, … heads may take fewer.
  int64_t fused_heads(int64_t wanted) const {
    if (options_.launches == Launches::kPublished) return wanted;
    return std::max(1, shapes_.fused_heads(clipped(wanted), most_rows_, most_keys_, dim_));
  }

  /// How many heads go together, and how many launches' scores fit into memory.
  void choose_fusion() {
    const std::vector<KeyTile> tiles = key_tiles(first_ + rows_);
    if (tiles.empty()) fail();
    int64_t slot_head = int64_t{most_rows_} * dim_;
    for (const KeyTile& tile : tiles) {
      slot_head += int64_t{most_rows_} * tile.bucket;
      most_keys_ = std::max(most_keys_, tile.bucket);
    }
    const GraphSpec one = {1, most_rows_, most_keys_, dim_, Requantisation{}};
    const int64_t largest = std::max({one.query_bytes(), one.key_bytes(), one.score_bytes()});
    fuse_ = std::min<int64_t>(heads_.heads, soc_.limits.max_heads);
    if (options_.fuse_heads > 0) fuse_ = std::min<int64_t>(fuse_, options_.fuse_heads);
    fuse_ = std::clamp<int64_t>(soc_.limits.max_tensor_bytes / largest, 1, fuse_);
    int64_t most_slots = kMostSlots;
    if (options_.launches == Launches::kEngine) {
      const int64_t head_bytes = (tiles.back().first + tiles.back().bucket) * dim_;
      fuse_ = std::clamp<int64_t>(kKeysBytes / head_bytes, 1, fuse_);
      fuse_ = std::clamp<int64_t>(kSlotsBytes / (2 * slot_head), 1, fuse_);
      // Launches are asked for while the NPU remembers them; each may come with a compilation.
      most_slots = std::min(most_slots, soc_.limits.queue_depth * int64_t{2} / std::ssize(tiles));
      if (most_slots < 1) fail();
    }
    const int64_t slots = std::max<int64_t>(2, kSlotsBytes / (fuse_ * slot_head));
    slots_ = static_cast<int>(std::min(slots, most_slots));
  }

  /// Queries come in f32, keys in f16, both leave in INT8, all at the memory's bandwidth.
  double quantise_ns() const {
    const auto dim = static_cast<double>(shape_.head_dim);
    const double queries = static_cast<double>(rows_ * shape_.heads) * dim;
    const double keys = static_cast<double>((first_ + rows_) * heads_.heads) * dim;
    return (queries * (4 + 1) + keys * (2 + 1)) / soc_.rates.memory_bytes_per_second * 1e9;
  }

  LaunchWork launch(int64_t first, int64_t rows, int64_t heads) const {
    LaunchWork work;
    work.job.heads = static_cast<int>(heads);
    for (const KeyTile& tile : key_tiles(first + rows)) {
      const double head_ns = times_.head_time_ns(graph(rows, tile));
      ++work.launches;
      work.overhead_ns += times_.launch_ns;
      work.job.device_ns += times_.launch_ns + static_cast<double>(heads) * head_ns;
    }
    const PairCounts pairs = count_pairs(first, rows, share_);
    const double query_heads = static_cast<double>(heads * heads_.group) / worker_speed();
    work.select_ns = query_heads * pairs.visible * soc_.rates.select_ns;
    work.attend_ns = query_heads * pairs.kept * 4 * static_cast<double>(shape_.head_dim) /
                     soc_.rates.attend_operations_per_second * 1e9;
    work.job.cpu_ns = work.select_ns + work.attend_ns;
    return work;
  }

  /// What is computed for one head. The published operator has all rows of a chunk, and as many
  /// keys as there are; ours has buckets of both.
  GraphSpec graph(int64_t rows, const KeyTile& tile) const {
    if (options_.launches == Launches::kPublished) {
      return {1, most_rows_, clipped(padded(tile.count, soc_.limits.key_multiple)), dim_,
              Requantisation{}};
    }
    return {1, shapes_.rows(clipped(rows * heads_.group)), tile.bucket, dim_, Requantisation{}};
  }

  /// A team of cores that works on one head together counts as one worker.
  double worker_speed() const {
    const double one = core_speed(soc_, options_.core);
    return options_.launches == Launches::kPublished ? one * options_.cores : one;
  }

  const SocModel& soc_;
  const ModelShape& shape_;
  const PrefillOptions& options_;
  int64_t first_;
  int64_t rows_;
  ShapeBuckets shapes_;
  LaunchHeads heads_;
  int32_t dim_;
  LatencyModel times_;
  double share_;
  int64_t prompt_rows_;
  int32_t most_rows_;  ///< row bucket of a full launch
  int32_t most_keys_ = 0;
  int64_t fuse_ = 1;
  int slots_ = 2;
};

}  // namespace

PairCounts count_pairs(int64_t first, int64_t rows, double share) {
  const auto before = static_cast<double>(first);
  const auto count = static_cast<double>(rows);
  PairCounts pairs;
  pairs.rectangle = count * (before + count);
  pairs.visible = count * before + count * (count + 1) / 2;
  pairs.kept = std::min(pairs.visible, share * pairs.visible + count / 2);
  return pairs;
}

std::vector<PipelineJob> CallWork::jobs() const {
  std::vector<PipelineJob> result;
  result.reserve(launches.size());
  for (const LaunchWork& launch : launches) result.push_back(launch.job);
  return result;
}

CallWork cut_call(const SocModel& soc, const ModelShape& shape, const PrefillOptions& options,
                  int64_t first, int64_t rows) {
  return CallCutter(soc, shape, options, first, rows).cut();
}

std::vector<int32_t> launch_order(const CallWork& call, PipelineMode pipeline) {
  if (pipeline == PipelineMode::kPlanned) {
    return plan_order(call.jobs(), call.slots, call.workers);
  }
  std::vector<int32_t> order(call.launches.size());
  std::iota(order.begin(), order.end(), 0);
  return order;
}

double call_makespan(const CallWork& call, PipelineMode pipeline) {
  const std::vector<PipelineJob> jobs = call.jobs();
  if (pipeline == PipelineMode::kOff) return predict_serial(jobs, call.workers).makespan_ns;
  return predict(jobs, launch_order(call, pipeline), call.slots, call.workers).makespan_ns;
}

}  // namespace shadowattn::tool::simulate
