#include "paper/ablation_times_chapter.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/text.h"
#include "paper/published.h"
#include "paper/timing_values.h"
#include "trace/timeline_svg.h"

namespace shadowattn::tool::paper {
namespace {

struct Named {
  const char* id;
  const char* label;
};
constexpr std::array kMethods = {
    Named{"dense", "dense, ours"},
    Named{"shadow", "no device: the CPU estimates"},
    Named{"off", "no pipeline, heads fused"},
    Named{"fifo", "pipeline in order, heads fused"},
    Named{"planned", "pipeline in planned order, heads fused"},
    Named{"off-one-head", "no pipeline, a head per launch"},
    Named{"fifo-one-head", "pipeline in order, a head per launch"},
    Named{"planned-one-head", "pipeline in planned order, a head per launch"},
};

double device_figure(const Json& values, const std::string& method, const char* key) {
  const Json* found = find_setup(values, kOneCore);
  if (found != nullptr) found = find_method(*found, method);
  if (found == nullptr || !found->contains("device")) return NAN;
  return found->at("device").value(key, NAN);
}

double idle_share(const Json& values, const std::string& method) {
  return 1 - device_figure(values, method, "busy_ns") / device_figure(values, method, "span_ns");
}

// One CPU thread.
double waiting_share(const Json& values, const std::string& method) {
  return device_figure(values, method, "wait_ns") / device_figure(values, method, "span_ns");
}

std::string percent(double share) {
  return std::isfinite(share) ? format_percent(std::clamp(share, 0.0, 1.0)) : "-";
}

std::string count(double value) { return std::isfinite(value) ? format_fixed(value, 0) : "-"; }

eval::Grid grid_of(const Json& values) {
  eval::Grid grid;
  grid.header = {"estimate",  "ms",       "times planned", "device idle",
                 "CPU waits", "launches", "core-ms"};
  for (const Named& method : kMethods) {
    const double wall = figure(values, kOneCore, method.id, "median_wall_ns");
    if (!std::isfinite(wall)) continue;
    grid.rows.push_back({method.label, milliseconds_text(wall),
                         ratio_text(time_ratio(values, kOneCore, method.id, "planned")),
                         percent(idle_share(values, method.id)),
                         percent(waiting_share(values, method.id)),
                         count(device_figure(values, method.id, "launches")),
                         milliseconds_text(figure(values, kOneCore, method.id, "median_cpu_ns"))});
  }
  return grid;
}

// SVG inside a page has no XML declaration.
std::string embedded(const std::string& svg) {
  const size_t start = svg.find("<svg");
  return start == std::string::npos ? "" : svg.substr(start);
}

std::string picture(const Json& values) {
  const Named panels[] = {{"planned", "pipeline in planned order"}, {"off", "no pipeline"}};
  std::vector<TimelinePanel> drawn;
  for (const Named& panel : panels) {
    const TimelineCall call = timeline_call(values, panel.id);
    if (!call.events.empty()) drawn.push_back({panel.label, "npu-sim", call});
  }
  if (drawn.empty()) return "";
  return embedded(timeline_svg("One call, " + values.value("label", ""),
                               "keep 0.20, 1 CPU thread; npu-sim is a simulation", drawn));
}

std::string notes(const Json& values) {
  std::string text;
  for (const Named& method : kMethods) {
    const Json* found = find_setup(values, kOneCore);
    if (found != nullptr) found = find_method(*found, method.id);
    if (found == nullptr || !found->contains("device")) continue;
    const std::string note = found->at("device").value("note", "");
    if (!note.empty()) text += "\n" + std::string(method.label) + ": " + note + ".";
    const double late = device_figure(values, method.id, "late_launches");
    if (late > 0) {
      text += "\n" + std::string(method.label) + ": " + format_fixed(late, 1) +
              " launches per call took longer here than the SoC would need.";
    }
  }
  return text;
}

void add_section(const Json& values, Chapter& chapter) {
  const Json operands = values.value("operands", Json::object());
  eval::Section section;
  section.heading = values.value("label", "");
  section.note = operands_text(operands) + ", " + format_count(operands.value("keys", int64_t{0})) +
                 " keys. Times planned: how many times as long as the planned pipeline with fused "
                 "heads. Idle and waiting: of the time from the first launch to the last attended "
                 "list." +
                 notes(values);
  const std::string cores = values.value("cores_note", "");
  if (!cores.empty()) section.note += "\n" + cores;
  section.picture = picture(values);
  section.grid = grid_of(values);
  chapter.sections.push_back(std::move(section));
}

/// Over all parts: how many times as long `method` takes as `other`.
std::vector<double> ratios(const Findings& findings, const std::string& method,
                           const std::string& other) {
  std::vector<double> all;
  for (const auto& [id, finding] : findings) {
    all.push_back(time_ratio(finding.values, kOneCore, method, other));
  }
  return all;
}

// The largest; NaN for none.
double most(const std::vector<double>& values) {
  double largest = NAN;
  for (const double value : values) largest = std::fmax(largest, value);
  return largest;
}

std::string remark(double ratio, const std::string& otherwise) {
  if (!std::isfinite(ratio)) return "needs a second core for npu-sim";
  return ratio > 1 ? "" : otherwise;
}

/// Where the pipeline gained least: its ratio, and how many launches there were to overlap.
struct LeastGain {
  double ratio = INFINITY;
  double launches = 0;
};

// With heads fused and one per launch: like is compared with like.
void add_pipeline_claim(const Findings& findings, Chapter& chapter) {
  std::vector<double> all;
  LeastGain least;
  for (const auto& [id, finding] : findings) {
    for (const char* fusion : {"", "-one-head"}) {
      const std::string planned = std::string("planned") + fusion;
      const double ratio =
          time_ratio(finding.values, kOneCore, std::string("off") + fusion, planned);
      all.push_back(ratio);
      if (ratio < least.ratio) {
        least = {ratio, device_figure(finding.values, planned, "launches")};
      }
    }
  }
  std::string why = remark(most(all), "unexplained");
  if (why.empty() && least.ratio < 1) {
    why = "least where a call is " + count(least.launches) + " launches";
  }
  chapter.claims.push_back({"Without the pipeline: times as long as with it (npu-sim)",
                            "rises clearly (no figure)", "ablation, Qwen2-0.5B, Xiaomi 14",
                            range_text(all), why});
}

void add_claims(const Findings& findings, Chapter& chapter) {
  add_pipeline_claim(findings, chapter);
  const double one_by_one = published::kNpuLaunchMs[0] * 4;
  const std::vector<double> fused = ratios(findings, "planned-one-head", "planned");
  chapter.claims.push_back(
      {"A head per launch: times as long as heads fused (here: of the whole call)",
       ratio_text(one_by_one / published::kNpuLaunchMs[2]) + " (4 heads, launches alone)",
       "example of NPU times, Xiaomi 14", range_text(fused),
       remark(most(fused), "a head per launch is nowhere slower here")});
  const std::vector<double> cpu = ratios(findings, "shadow", "planned");
  chapter.claims.push_back(
      {"Without the NPU, the CPU estimates: times as long as with it (npu-sim)", "not published",
       "", range_text(cpu),
       remark(most(cpu), "the CPU's own estimate is faster here in all cases")});
}

}  // namespace

TimelineCall timeline_call(const Json& values, const std::string& pipeline) {
  TimelineCall call;
  const Json timeline = values.value("timelines", Json::object()).value(pipeline, Json::object());
  call.rows = values.value("operands", Json::object()).value("rows", int64_t{0});
  call.keys = values.value("operands", Json::object()).value("keys", int64_t{0});
  call.end_ns = timeline.value("wall_ns", int64_t{0});
  const Json events = timeline.value("events", Json::array());
  for (const Json& event : events) {
    const std::string name = event.value("stage", "");
    const auto stage = std::find_if(kStages.begin(), kStages.end(),
                                    [&](TraceStage one) { return name == name_of(one); });
    if (stage == kStages.end()) continue;
    call.events.push_back({*stage, event.value("unit", Unit{0}),
                           event.value("start_ns", int64_t{0}), event.value("end_ns", int64_t{0})});
  }
  return call;
}

Chapter ablation_times_chapter(const Findings& findings) {
  Chapter chapter;
  if (findings.empty()) return chapter;
  add_claims(findings, chapter);
  for (const auto& [id, finding] : findings) add_section(finding.values, chapter);
  return chapter;
}

}  // namespace shadowattn::tool::paper
