#include "engine/launch_queue.h"

#include <algorithm>
#include <new>

#include "engine/score_check.h"

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

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             Device::Clock::now().time_since_epoch())
      .count();
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

Status LaunchQueue::launch(const LaunchGroup& group, Slot& slot) {
  const size_t heads = group.kv_heads.size();
  std::fill(slot.graphs.begin(), slot.graphs.end(), 0);
  for (size_t t = 0; t < group.key_tiles.size(); ++t) {
    const Result<GraphId> graph = parts_.bank.find(spec(group, t));
    if (!graph.ok()) return graph.status();
    slot.graphs[t] = graph.value();
    const Result<Ticket> ticket =
        parts_.device.submit({graph.value(), {slot.operands.data() + t * heads, heads}});
    if (!ticket.ok()) return ticket.status();
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
    return {StatusCode::kOutOfMemory, "no memory to keep a graph"};
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
    slot.abandoned = false;
    slot.launched = 0;
    const int64_t offset = parts_.layout.slots_offset + index * parts_.layout.slot_bytes;
    const Status status = submit(group, slot, offset, lane);
    if (is_lost(status)) {
      status_ = status;
    } else if (!status.ok()) {
      if (report_.note.empty()) report_.note = status.message();
      slot.refused = true;
    }
    ++submitted_;
  }
}

LaunchQueue::Job LaunchQueue::make_job(const LaunchGroup& group, const Slot& slot,
                                       int32_t head) const {
  const AttentionCall& call = parts_.context.call;
  const auto h = static_cast<size_t>(head);
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
  return job;
}

Status LaunchQueue::await(const LaunchGroup& group, const Slot& slot, int32_t head, int32_t lane,
                          DeviceReport* seen) {
  const int64_t started = now_ns();
  const Device::Clock::time_point deadline = Device::Clock::now() + parts_.timeout;
  Trace* trace = parts_.context.trace;
  TraceEvent event;
  event.kv_head = group.kv_heads[static_cast<size_t>(head)];
  event.first_row = group.rows.first;
  event.rows = group.rows.count;
  for (size_t t = 0; t < group.key_tiles.size(); ++t) {
    HeadTiming timing;
    Status status = parts_.device.wait(slot.tickets[t], head, deadline, &timing);
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

void LaunchQueue::finish_head(Slot& slot) {
  if (--slot.heads_left > 0) return;
  slot.group = -1;
  freed_.notify_all();
}

void LaunchQueue::refuse(const LaunchGroup& group, Slot& slot) {
  report_.refused_tiles += group.tiles;
  if (!slot.abandoned) {
    slot.abandoned = true;
    slot.refused = true;
    for (size_t t = 0; t < group.key_tiles.size(); ++t) parts_.bank.refused(slot.graphs[t]);
    // What was launched before the refusal still reads the slot and the keys.
    const auto last = static_cast<int32_t>(group.kv_heads.size()) - 1;
    const auto deadline = Device::Clock::now() + parts_.timeout;
    for (size_t t = 0; t < slot.launched; ++t) {
      const Status status = parts_.device.wait(slot.tickets[t], last, deadline, nullptr);
      if (is_lost(status)) lose(status);
    }
  }
  finish_head(slot);
}

void LaunchQueue::lose(const Status& status) {
  if (status_.ok()) status_ = status;
  freed_.notify_all();
}

std::optional<LaunchQueue::Turn> LaunchQueue::take(std::unique_lock<std::mutex>& lock,
                                                   int32_t lane) {
  while (status_.ok() && next_group_ < static_cast<int64_t>(order_.size())) {
    submit_ahead(lane);
    if (!status_.ok()) break;
    if (next_group_ >= submitted_) {  // its slot is still in use
      freed_.wait(lock);
      continue;
    }
    Turn turn;
    turn.group = &groups_[static_cast<size_t>(order_[static_cast<size_t>(next_group_)])];
    turn.slot = &slots_[static_cast<size_t>(next_group_ % static_cast<int64_t>(slots_.size()))];
    turn.head = next_head_++;
    turn.seed = parts_.check_seed + static_cast<uint64_t>(handed_out_++);
    turn.last = next_head_ == static_cast<int32_t>(turn.group->kv_heads.size());
    if (turn.last) {
      next_head_ = 0;
      ++next_group_;
    }
    return turn;
  }
  freed_.notify_all();  // others wait for slots that nobody will need
  return std::nullopt;
}

Status LaunchQueue::fetch(const Turn& turn, const Job& job, int32_t lane, DeviceReport* seen) {
  Status status = await(*turn.group, *turn.slot, turn.head, lane, seen);
  if (!status.ok()) return status;
  const LaunchHead& operands = turn.slot->operands[static_cast<size_t>(turn.head)];
  const auto* memory = reinterpret_cast<const int8_t*>(parts_.device.memory());
  if (!scores_are_right(job.scores,
                        {memory + operands.query, memory + operands.key,
                         parts_.context.call.key.dim, turn.group->requantisation},
                        turn.seed, seen)) {
    wrong_.store(true);
    return {StatusCode::kDeviceFailed, "its scores are wrong"};
  }
  count_saturated(job.scores, parts_.context.options, parts_.context.visibility, turn.seed, seen);
  return {};
}

std::optional<LaunchQueue::Job> LaunchQueue::next(int32_t lane) {
  std::unique_lock lock(mutex_);
  while (const std::optional<Turn> turn = take(lock, lane)) {
    if (turn->slot->refused) {
      refuse(*turn->group, *turn->slot);
      continue;
    }
    const Job job = make_job(*turn->group, *turn->slot, turn->head);
    lock.unlock();
    DeviceReport seen;
    const Status status = fetch(*turn, job, lane, &seen);
    lock.lock();
    add_counters(seen, &report_);
    if (status.ok()) {
      if (turn->last) observe_device(*turn->group, *turn->slot);
      return job;
    }
    if (is_lost(status)) {
      lose(status);
      break;
    }
    if (report_.note.empty()) report_.note = status.message();
    refuse(*turn->group, *turn->slot);
  }
  return std::nullopt;
}

void LaunchQueue::done(const Job& job) {
  const std::lock_guard lock(mutex_);
  finish_head(slots_[static_cast<size_t>(job.slot)]);
}

void LaunchQueue::observe_cpu(int64_t pairs, int64_t kept, int64_t select_ns, int64_t attend_ns) {
  const std::lock_guard lock(mutex_);
  parts_.times.observe_cpu(pairs, kept, select_ns, attend_ns);
}

}  // namespace shadowattn
