#include "profile/mass.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <limits>

#include "common/failure.h"
#include "common/interrupt.h"
#include "profile/sub_call.h"
#include "shadowattn/engine.h"

namespace shadowattn::tool {
namespace {

constexpr std::array<double, 6> kErrors = {0.005, 0.01, 0.02, 0.05, 0.1, 0.2};
constexpr double kWorthIt = 0.97;  // of dense time; what gains less is not worth an error
constexpr double kHopeless = 2.0;  // times the fastest's time: timed once only

EngineOptions engine_options(const ListShape& lists, double attn_error) {
  EngineOptions options;
  options.mode = lists.dense ? Mode::kDense : Mode::kShadow;
  options.attn_error = attn_error;
  options.rows_per_list = lists.rows_per_list;
  options.share_heads = lists.share_heads;
  options.gate = false;  // what the lists themselves cost is asked
  options.sample_every = 0;
  options.threads = 1;
  return options;
}

Engine make_engine(const ListShape& lists, double attn_error) {
  Result<Engine> engine = Engine::create(engine_options(lists, attn_error));
  if (!engine.ok()) throw Failure(engine.status().message());
  return std::move(engine).value();
}

CallReport attend(Engine& engine, const AttentionCall& call) {
  CallReport report;
  const Status status = engine.attend(call, &report);
  if (!status.ok()) throw Failure("this attention cannot be measured: " + status.message());
  return report;
}

double kept_share(const CallReport& report) {
  if (report.visible_pairs == 0) return 1.0;
  return static_cast<double>(report.kept_pairs) / static_cast<double>(report.visible_pairs);
}

/// Of this thread, which computes all of a call with threads = 1: what else runs on the machine
/// does not count.
double thread_cpu_ns() {
  timespec time{};
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/// Kept shares at every error.
void measure_shares(const AttentionCall& call, KeptCurve& curve) {
  for (const double error : kErrors) {
    curve.attn_error.push_back(error);
    if (curve.lists.dense) {
      curve.kept.push_back(1.0);
      continue;
    }
    Engine engine = make_engine(curve.lists, error);
    curve.kept.push_back(kept_share(attend(engine, call)));
  }
}

/// Times of all candidates, in turns, so that a busy moment of the machine strikes none alone.
void measure_times(const AttentionCall& call, const MassOptions& options,
                   const std::function<void()>& check, std::vector<KeptCurve>& curves) {
  std::vector<Engine> engines;
  engines.reserve(curves.size());
  for (KeptCurve& curve : curves) {
    engines.push_back(make_engine(curve.lists, options.attn_error));
    curve.nanoseconds = std::numeric_limits<double>::max();
  }
  double fastest = std::numeric_limits<double>::max();
  for (int run = 0; run < options.timed_runs; ++run) {
    for (size_t i = 0; i < curves.size(); ++i) {
      check();
      if (run > 0 && curves[i].nanoseconds > kHopeless * fastest) continue;
      const double start = thread_cpu_ns();
      const CallReport report = attend(engines[i], call);
      const double spent = thread_cpu_ns() - start;
      const auto pairs = static_cast<double>(std::max<int64_t>(report.visible_pairs, 1));
      curves[i].nanoseconds = std::min(curves[i].nanoseconds, spent / pairs);
      fastest = std::min(fastest, curves[i].nanoseconds);
    }
  }
}

/// Visible keys of a query row of the call, on average.
int64_t visible_keys(const AttentionCall& call) {
  Engine engine = make_engine({.dense = true}, 0.0);
  const CallReport report = attend(engine, call);
  return report.visible_pairs / std::max<int64_t>(report.rows * report.heads, 1);
}

}  // namespace

std::span<const double> measured_errors() { return kErrors; }

std::vector<ListShape> candidate_lists(int64_t group_heads) {
  std::vector<ListShape> candidates = {{.rows_per_list = 8, .share_heads = true}};
  for (const int32_t rows : {8, 4, 2, 1}) {
    // A head that is alone shares with nobody either way.
    if (rows == 8 && group_heads == 1) continue;
    candidates.push_back({.rows_per_list = rows, .share_heads = group_heads == 1});
  }
  candidates.push_back({.dense = true});
  return candidates;
}

ListShape fastest_lists(std::span<const KeptCurve> curves) {
  const auto fastest = std::min_element(
      curves.begin(), curves.end(),
      [](const KeptCurve& a, const KeptCurve& b) { return a.nanoseconds < b.nanoseconds; });
  if (fastest == curves.end()) return ListShape();
  const auto dense = std::find_if(curves.begin(), curves.end(),
                                  [](const KeptCurve& curve) { return curve.lists.dense; });
  const bool worth_it =
      dense == curves.end() || fastest->nanoseconds < kWorthIt * dense->nanoseconds;
  return worth_it ? fastest->lists : dense->lists;
}

std::vector<KvHeadProfile> measure_kv_heads(const AttentionCall& call, const MassOptions& options,
                                            const std::function<bool()>& stopped) {
  const auto check = [&stopped] {
    if (stopped()) throw Failure("interrupted", interrupted_status());
  };
  std::vector<KvHeadProfile> heads;
  for (int64_t kv_head = 0; kv_head < call.key.heads; ++kv_head) {
    const Result<AttentionCall> part = kv_head_call(call, kv_head);
    if (!part.ok()) throw Failure("this attention cannot be measured: " + part.status().message());
    const AttentionCall rows = last_rows(part.value(), options.curve_rows);
    const int64_t keys = visible_keys(rows);
    KvHeadProfile head;
    for (const ListShape& lists : candidate_lists(part.value().query.heads)) {
      check();
      KeptCurve& curve = head.curves.emplace_back();
      curve.lists = lists;
      curve.keys = keys;
      measure_shares(rows, curve);
    }
    measure_times(part.value(), options, check, head.curves);
    head.lists = fastest_lists(head.curves);
    heads.push_back(std::move(head));
  }
  return heads;
}

}  // namespace shadowattn::tool
