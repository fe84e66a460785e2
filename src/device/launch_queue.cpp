#include "device/launch_queue.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "device/score_check.h"
#include "pilot/estimate_error.h"

namespace shadowattn {
namespace {

constexpr double kLog2E = 1.4426950408889634;

int64_t align(int64_t bytes) {
  return (bytes + kDeviceAlignment - 1) / kDeviceAlignment * kDeviceAlignment;
}

/// The device is of no use any more; other errors concern one graph.
bool is_lost(const Status& status) {
  return status.code() == StatusCode::kDeviceFailed || status.code() == StatusCode::kTimedOut;
}

/// Of a graph, by the device; any other error of a wait leaves open when the operation ends.
bool is_refusal(const Status& status) {
  return status.code() == StatusCode::kUnsupported || status.code() == StatusCode::kOutOfMemory;
}

/// The first note stands. Tasks must not throw.
void set_note(const Status& status, DeviceReport* report) try {
  if (report->note.empty()) report->note = status.message();
} catch (const std::bad_alloc&) {
}

void remember_refusal(GraphBank& bank, GraphId graph) try {
  bank.refused(graph);
} catch (const std::bad_alloc&) {  // it will be asked for again
}

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             Device::Clock::now().time_since_epoch())
      .count();
}

/// Of a logit: rounded operands, and scores rounded twice (device.h), each by half a unit at most.
double error_variance(const AttentionCall& call, const HeadBucket& bucket,
                      const DeviceScores& scores) {
  constexpr double kLargestOperand = 127.0;
  // With a scale per row, that of the longest row is no larger than this.
  const double query_step = bucket.query_scale != 0.0F
                                ? bucket.query_scale
                                : std::sqrt(bucket.query_norm2) / kLargestOperand;
  const double unit = query_step * scores.log2_per_unit / kLog2E;
  return logit_error_variance({.scale = call.scale,
                               .query_norm2 = bucket.query_norm2,
                               .query_step = query_step,
                               .key_norm2 = bucket.key_norm2,
                               .key_step = bucket.key_scale}) +
         unit * unit / 6.0;
}

}  // namespace

void add_counters(const DeviceReport& part, DeviceReport* sum) {
  if (sum->note.empty()) sum->note = part.note;
  sum->launches += part.launches;
  sum->refused_tiles += part.refused_tiles;
  sum->query_elements += part.query_elements;
  sum->clipped_queries += part.clipped_queries;
  sum->sampled_scores += part.sampled_scores;
  sum->saturated_scores += part.saturated_scores;
  sum->sampled_kept += part.sampled_kept;
  sum->tied_kept += part.tied_kept;
  sum->checked_scores += part.checked_scores;
  sum->invalid_scores += part.invalid_scores;
  sum->busy_ns += part.busy_ns;
  sum->wait_ns += part.wait_ns;
}

LaunchQueue::LaunchQueue(const Parts& parts, std::span<const LaunchGroup> groups,
                         std::span<const int32_t> order)
    : parts_(parts), groups_(groups), order_(order) {
  size_t heads = 0;
  size_t key_tiles = 0;
  size_t rows = 0;
  for (const LaunchGroup& group : groups) {
    heads = std::max(heads, group.kv_heads.size());
    key_tiles = std::max(key_tiles, group.key_tiles.size());
    rows = std::max(rows, static_cast<size_t>(group.row_bucket));
  }
  operations_.resize(
      static_cast<size_t>(std::max(parts.device.capabilities().queue_depth, int32_t{1})));
  slots_.resize(static_cast<size_t>(parts.layout.slots));
  for (Slot& slot : slots_) {  // tasks allocate nothing
    slot.tickets.resize(key_tiles);
    slot.graphs.resize(key_tiles);
    slot.operands.resize(key_tiles * heads);
    slot.scores.resize(heads * key_tiles);
    slot.query_scale.resize(heads * rows);
  }
}

GraphSpec LaunchQueue::spec(const LaunchGroup& group, size_t key_tile) const {
  return {static_cast<int32_t>(group.kv_heads.size()), group.row_bucket,
          group.key_tiles[key_tile].bucket, static_cast<int32_t>(parts_.context.call.key.dim),
          group.requantisation};
}

void LaunchQueue::lay_out(const LaunchGroup& group, Slot& slot, int64_t slot_offset) {
  const int64_t dim = parts_.context.call.key.dim;
  const size_t heads = group.kv_heads.size();
  int64_t offset = slot_offset + static_cast<int64_t>(heads) * align(group.row_bucket * dim);
  for (size_t t = 0; t < group.key_tiles.size(); ++t) {
    const KeyTile& tile = group.key_tiles[t];
    for (size_t h = 0; h < heads; ++h) {
      LaunchHead& head = slot.operands[t * heads + h];
      head.query = slot_offset + static_cast<int64_t>(h) * align(group.row_bucket * dim);
      head.key = (group.kv_heads[h] - parts_.layout.first_kv_head) * parts_.layout.head_bytes +
                 tile.first * dim;
      head.scores = offset;
      offset += align(int64_t{group.row_bucket} * tile.bucket);
      slot.scores[h * group.key_tiles.size() + t] = {
          reinterpret_cast<const int8_t*>(parts_.device.memory() + head.scores), tile.first,
          tile.bucket};
    }
  }
}

Status LaunchQueue::wait_for(const Operation& operation) {
  Status status = parts_.device.wait(operation.ticket, operation.head,
                                     Device::Clock::now() + parts_.timeout, nullptr);
  return is_refusal(status) ? Status() : status;
}

void LaunchQueue::queued(const Operation& operation) {
  operations_[static_cast<size_t>(queued_++) % operations_.size()] = operation;
}

bool LaunchQueue::make_room() {
  const auto depth = static_cast<int64_t>(operations_.size());
  if (queued_ < depth) return true;
  // Operations end in order: with this one all before it have.
  status_ = wait_for(operations_[static_cast<size_t>(queued_ % depth)]);
  return status_.ok();
}

Result<GraphId> LaunchQueue::find_graph(const GraphSpec& spec) {
  const bool known = parts_.bank.resident(spec);
  if (!known && !make_room()) return status_;
  Result<GraphId> graph = parts_.bank.find(spec);
  if (graph.ok() && !known) queued({parts_.bank.compile_ticket(graph.value()).value_or(0), 0});
  return graph;
}

Status LaunchQueue::launch(const LaunchGroup& group, Slot& slot) {
  const size_t heads = group.kv_heads.size();
  for (size_t t = 0; t < group.key_tiles.size(); ++t) {
    const Result<GraphId> graph = find_graph(spec(group, t));
    if (!graph.ok()) return graph.status();
    if (!make_room()) return status_;
    slot.graphs[t] = graph.value();
    const Result<Ticket> ticket =
        parts_.device.submit({graph.value(), {slot.operands.data() + t * heads, heads}});
    if (!ticket.ok()) return ticket.status();
    queued({ticket.value(), static_cast<int32_t>(heads) - 1});
    slot.tickets[t] = ticket.value();
    slot.launched = t + 1;
    ++report_.launches;
  }
  return {};
}

Status LaunchQueue::submit(const LaunchGroup& group, Slot& slot, int64_t slot_offset,
                           int32_t lane) {
  const CallContext& context = parts_.context;
  const TraceSpan span(context.trace, {.stage = TraceStage::kPrepare,
                                       .lane = lane,
                                       .first_row = group.rows.first,
                                       .rows = group.rows.count});
  lay_out(group, slot, slot_offset);
  std::byte* memory = parts_.device.memory();
  for (size_t h = 0; h < group.kv_heads.size(); ++h) {
    const int32_t kv_head = group.kv_heads[h];
    report_.clipped_queries += DeviceOperands::write_queries(
        context.call, parts_.buckets[static_cast<size_t>(kv_head)], kv_head, group.rows,
        group.row_bucket, context.kernels.quantize,
        reinterpret_cast<int8_t*>(memory + slot.operands[h].query),
        slot.query_scale.data() + h * static_cast<size_t>(group.row_bucket));
    report_.query_elements += group.rows.count * context.call.query.heads / context.call.key.heads *
                              context.call.query.dim;
  }
  try {
    return launch(group, slot);
  } catch (const std::bad_alloc&) {  // in the graph bank: the CPU does this group
    // Messages of up to 15 characters need no memory themselves; so below.
    return {StatusCode::kOutOfMemory, "no memory"};
  }
}

void LaunchQueue::submit_ahead(int32_t lane) {
  const auto count = static_cast<int64_t>(slots_.size());
  while (status_.ok() && submitted_ < static_cast<int64_t>(order_.size()) &&
         slots_[static_cast<size_t>(submitted_ % count)].group < 0) {
    const int64_t index = submitted_ % count;
    Slot& slot = slots_[static_cast<size_t>(index)];
    const LaunchGroup& group =
        groups_[static_cast<size_t>(order_[static_cast<size_t>(submitted_)])];
    slot.group = submitted_;
    slot.heads_left = static_cast<int32_t>(group.kv_heads.size());
    slot.refused = false;
    slot.launched = 0;
    const int64_t offset = parts_.layout.slots_offset + index * parts_.layout.slot_bytes;
    Status status = submit(group, slot, offset, lane);
    if (is_lost(status)) {
      status_ = std::move(status);
    } else if (!status.ok()) {
      set_note(status, &report_);
      slot.refused = true;
    }
    ++submitted_;
  }
}

LaunchQueue::Job LaunchQueue::make_job(const Turn& turn) const {
  const AttentionCall& call = parts_.context.call;
  const LaunchGroup& group = turn.group;
  const Slot& slot = turn.slot;
  const auto h = static_cast<size_t>(turn.head);
  Job job;
  job.group = &group;
  job.kv_head = group.kv_heads[h];
  job.slot = static_cast<int32_t>(&slot - slots_.data());
  const HeadBucket& bucket = parts_.buckets[static_cast<size_t>(job.kv_head)];
  DeviceScores& scores = job.scores;
  scores.tiles = {slot.scores.data() + h * group.key_tiles.size(), group.key_tiles.size()};
  scores.first_key = parts_.layout.first_key;
  scores.rows = group.rows;
  scores.heads = call.query.heads / call.key.heads;
  scores.first_head = job.kv_head * scores.heads;
  scores.query_scale = slot.query_scale.data() + h * static_cast<size_t>(group.row_bucket);
  scores.log2_per_unit = static_cast<double>(bucket.key_scale) * call.scale * kLog2E /
                         group.requantisation.multiplier();
  scores.error_variance = error_variance(call, bucket, scores);
  return job;
}

Status LaunchQueue::await(const Turn& turn, int32_t lane, size_t* tile, DeviceReport* seen) {
  const int64_t started = now_ns();
  const LaunchGroup& group = turn.group;
  Trace* trace = parts_.context.trace;
  TraceEvent event;
  event.kv_head = group.kv_heads[static_cast<size_t>(turn.head)];
  event.first_row = group.rows.first;
  event.rows = group.rows.count;
  for (size_t t = 0; t < group.key_tiles.size(); ++t) {
    *tile = t;
    HeadTiming timing;
    Status status = parts_.device.wait(turn.slot.tickets[t], turn.head,
                                       Device::Clock::now() + parts_.timeout, &timing);
    if (!status.ok()) return status;
    seen->busy_ns += timing.end_ns - timing.start_ns;
    if (trace == nullptr) continue;
    event.stage = TraceStage::kDevice;
    event.lane = kTraceDeviceLane;
    event.start_ns = timing.start_ns;
    event.end_ns = timing.end_ns;
    trace->add(event);
  }
  const int64_t ended = now_ns();
  seen->wait_ns += ended - started;
  if (trace != nullptr) {
    event.stage = TraceStage::kWait;
    event.lane = lane;
    event.start_ns = started;
    event.end_ns = ended;
    trace->add(event);
  }
  return {};
}

Status LaunchQueue::fetch(const Turn& turn, const Job& job, int32_t lane, size_t* tile,
                          DeviceReport* seen) {
  if (Status status = await(turn, lane, tile, seen); !status.ok()) return status;
  const CallContext& context = parts_.context;
  const LaunchHead& operands = turn.slot.operands[static_cast<size_t>(turn.head)];
  const auto* memory = reinterpret_cast<const int8_t*>(parts_.device.memory());
  const DeviceOperandView view{memory + operands.query, memory + operands.key, context.call.key.dim,
                               turn.group.requantisation};
  if (count_invalid(job.scores, seen) > 0) {
    return {StatusCode::kInternal, "wrong scores: bytes that are none"};
  }
  if (!scores_are_right(job.scores, view, turn.seed, seen)) {
    return {StatusCode::kInternal, "wrong scores"};
  }
  count_saturated(job.scores, context.options, context.visibility, turn.seed, seen);
  return {};
}

void LaunchQueue::observe_device(const LaunchGroup& group, const Slot& slot) {
  const auto last = static_cast<int32_t>(group.kv_heads.size()) - 1;
  for (size_t t = 0; t < group.key_tiles.size(); ++t) {
    HeadTiming first_head;
    HeadTiming last_head;
    const auto now = Device::Clock::now();
    if (!parts_.device.wait(slot.tickets[t], 0, now, &first_head).ok() ||
        !parts_.device.wait(slot.tickets[t], last, now, &last_head).ok()) {
      return;
    }
    parts_.times.observe_launch(spec(group, t), last_head.end_ns - first_head.start_ns);
  }
}

void LaunchQueue::finish_head(std::unique_lock<std::mutex>& lock, Slot& slot) {
  if (--slot.heads_left > 0) return;
  if (slot.refused && slot.launched > 0 && status_.ok()) {
    // Launches of other key tiles may not have ended: they still read and write the slot.
    const auto heads = static_cast<int32_t>(
        groups_[static_cast<size_t>(order_[static_cast<size_t>(slot.group)])].kv_heads.size());
    const Operation last{slot.tickets[slot.launched - 1], heads - 1};
    lock.unlock();
    Status status = wait_for(last);
    lock.lock();
    if (!status.ok() && status_.ok()) status_ = std::move(status);
  }
  slot.group = -1;
  freed_.notify_all();
}

void LaunchQueue::refuse(std::unique_lock<std::mutex>& lock, const Turn& turn) {
  turn.slot.refused = true;
  report_.refused_tiles += turn.group.tiles;
  finish_head(lock, turn.slot);
}

std::optional<LaunchQueue::Turn> LaunchQueue::take_turn(std::unique_lock<std::mutex>& lock,
                                                        int32_t lane) {
  const auto groups = static_cast<int64_t>(order_.size());
  while (status_.ok() && next_group_ < groups) {
    submit_ahead(lane);
    if (!status_.ok()) break;
    if (next_group_ >= submitted_) {  // its slot is still in use
      freed_.wait(lock);
      continue;
    }
    const LaunchGroup& group =
        groups_[static_cast<size_t>(order_[static_cast<size_t>(next_group_)])];
    Slot& slot = slots_[static_cast<size_t>(next_group_) % slots_.size()];
    const int32_t head = next_head_++;
    const bool last = next_head_ == static_cast<int32_t>(group.kv_heads.size());
    if (last) {
      next_head_ = 0;
      ++next_group_;
    }
    return Turn{group, slot, head, last, parts_.check_seed + static_cast<uint64_t>(handed_out_++)};
  }
  freed_.notify_all();  // others wait for slots that nobody will need
  return std::nullopt;
}

std::optional<LaunchQueue::Job> LaunchQueue::next(int32_t lane) {
  std::unique_lock lock(mutex_);
  while (const std::optional<Turn> turn = take_turn(lock, lane)) {
    if (turn->slot.refused) {
      refuse(lock, *turn);
      continue;
    }
    lock.unlock();
    DeviceReport seen;
    size_t tile = 0;
    Job job = make_job(*turn);
    Status status = fetch(*turn, job, lane, &tile, &seen);
    lock.lock();

    add_counters(seen, &report_);
    if (status.ok()) {
      if (turn->last) observe_device(turn->group, turn->slot);
      return job;
    }
    if (is_refusal(status)) {
      set_note(status, &report_);
      remember_refusal(parts_.bank, turn->slot.graphs[tile]);
      refuse(lock, *turn);
      continue;
    }
    const bool wrong = status.code() == StatusCode::kInternal;
    if (status_.ok() || (wrong && !wrong_)) status_ = std::move(status);
    wrong_ = wrong_ || wrong;
  }
  return std::nullopt;
}

void LaunchQueue::done(const Job& job) {
  std::unique_lock lock(mutex_);
  finish_head(lock, slots_[static_cast<size_t>(job.slot)]);
}

void LaunchQueue::drain() {
  const std::lock_guard lock(mutex_);
  if (queued_ == 0 || !status_.ok()) return;
  status_ = wait_for(operations_[static_cast<size_t>(queued_ - 1) % operations_.size()]);
}

void LaunchQueue::observe_cpu(int64_t pairs, int64_t kept, int64_t select_ns, int64_t attend_ns) {
  const std::lock_guard lock(mutex_);
  parts_.times.observe_cpu(pairs, kept, select_ns, attend_ns);
}

}  // namespace shadowattn
