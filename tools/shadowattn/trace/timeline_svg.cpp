#include "trace/timeline_svg.h"

#include <algorithm>
#include <map>

#include "common/svg.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace {

using svg::axis_marks;
using svg::line_between;
using svg::px;
using svg::text_at;

// All in pixels.
constexpr double kWidth = 1000;
constexpr double kLeft = 122;  // of the lanes, for their names
constexpr double kRight = 84;  // for the idle shares
constexpr double kTop = 88;    // of the first panel
constexpr double kTitle = 30;  // of a panel
constexpr double kLane = 26;
constexpr double kLaneGap = 6;
constexpr double kPanelGap = 22;
constexpr double kAxis = 48;
constexpr double kThinnest = 0.3;  // nothing becomes invisible
constexpr double kMerge = 0.3;     // gaps that are not to be seen
constexpr int kMostMarks = 8;

/// After Okabe and Ito, whose colours colour-blind people can tell apart; waiting is pale, for it
/// is idle time.
const char* colour_of(TraceStage stage) {
  switch (stage) {
    case TraceStage::kPrepare:
      return "#56B4E9";
    case TraceStage::kDevice:
      return "#0072B2";
    case TraceStage::kWait:
      return "#d4d4d4";
    case TraceStage::kPilot:
      return "#CC79A7";
    case TraceStage::kSelect:
      return "#E69F00";
    case TraceStage::kAttend:
      return "#009E73";
  }
  return "#000000";
}

const char* meaning_of(TraceStage stage) {
  switch (stage) {
    case TraceStage::kPrepare:
      return "prepare: mask, quantise";
    case TraceStage::kDevice:
      return "device: estimate";
    case TraceStage::kWait:
      return "wait for the device";
    case TraceStage::kPilot:
      return "pilot: estimate on the CPU";
    case TraceStage::kSelect:
      return "select tokens";
    case TraceStage::kAttend:
      return "attend";
  }
  return "";
}

std::string box(double x, double y, double width, double height, const std::string& fill) {
  return "<rect x=\"" + format_fixed(x, 2) + "\" y=\"" + px(y) + "\" width=\"" +
         format_fixed(width, 2) + "\" height=\"" + px(height) + "\" fill=\"" + fill + "\"/>\n";
}

std::string milliseconds(int64_t ns) {
  const double ms = static_cast<double>(ns) / 1e6;
  return format_fixed(ms, ms < 10 ? 2 : 1) + " ms";
}

std::string legend(const std::vector<TimelinePanel>& panels) {
  std::string drawn;
  double x = kLeft;
  for (const TraceStage stage : kStages) {
    const bool used = std::any_of(panels.begin(), panels.end(), [&](const TimelinePanel& panel) {
      return std::any_of(panel.call.events.begin(), panel.call.events.end(),
                         [&](const TimelineEvent& event) { return event.stage == stage; });
    });
    if (!used) continue;
    const std::string text = meaning_of(stage);
    drawn += box(x, 58, 14, 14, colour_of(stage)) + text_at(x + 20, 69.5, "start", text);
    x += 44 + svg::kLetter * static_cast<double>(text.size());
  }
  return drawn;
}

/// Nanoseconds to pixels.
struct Scale {
  double ns = 1;  ///< that the whole width stands for
  double width() const { return kWidth - kLeft - kRight; }
  double px_of(int64_t time_ns) const { return width() * static_cast<double>(time_ns) / ns; }
};

/// The events of one lane in order. Neighbours of one stage become one; launches stay apart.
std::vector<TimelineEvent> merged(std::vector<TimelineEvent> events, const Scale& scale) {
  std::stable_sort(events.begin(), events.end(),
                   [](const auto& a, const auto& b) { return a.start_ns < b.start_ns; });
  std::vector<TimelineEvent> result;
  for (const TimelineEvent& event : events) {
    const bool joins = !result.empty() && result.back().stage == event.stage &&
                       event.stage != TraceStage::kDevice &&
                       scale.px_of(event.start_ns - result.back().end_ns) < kMerge;
    if (joins) {
      result.back().end_ns = std::max(result.back().end_ns, event.end_ns);
    } else {
      result.push_back(event);
    }
  }
  return result;
}

std::string lane(const TimelineCall& call, const std::vector<TimelineEvent>& events, double y,
                 const Scale& scale) {
  std::string drawn = box(kLeft, y, scale.px_of(call.wall_ns()), kLane, "#f3f3f3");
  for (const TimelineEvent& event : merged(events, scale)) {
    const double width = scale.px_of(event.end_ns - event.start_ns);
    // A seam between launches, where there is room for it.
    const double seam = event.stage == TraceStage::kDevice && width > 2 ? 0.6 : 0.0;
    drawn += box(kLeft + scale.px_of(event.start_ns - call.start_ns), y,
                 std::max(width - seam, kThinnest), kLane, colour_of(event.stage));
  }
  return drawn;
}

struct Drawn {
  std::string svg;
  double bottom = 0;
};

Drawn draw(const TimelinePanel& panel, double top, const Scale& scale) {
  std::map<Unit, std::vector<TimelineEvent>> lanes;
  for (const TimelineEvent& event : panel.call.events) lanes[event.unit].push_back(event);
  const TimelineSums sums = sum_up({&panel.call, 1});
  Drawn drawn;
  drawn.svg =
      text_at(kLeft, top + 18, "start", panel.title + ": " + milliseconds(panel.call.wall_ns()),
              " font-weight=\"bold\" font-size=\"13\"");
  double y = top + kTitle;
  for (const auto& [unit, events] : lanes) {
    drawn.svg += text_at(kLeft - 10, y + 17, "end", unit_name(unit, panel.device));
    drawn.svg += lane(panel.call, events, y, scale);
    for (const UnitTimes& times : sums.units) {
      if (times.unit != unit) continue;
      drawn.svg += text_at(kWidth - kRight + 10, y + 17, "start",
                           "idle " + format_percent(times.idle_share));
    }
    y += kLane + kLaneGap;
  }
  drawn.bottom = y - kLaneGap;
  return drawn;
}

std::string axis(double y, int64_t longest_ns, const Scale& scale) {
  const double longest_ms = static_cast<double>(longest_ns) / 1e6;
  const std::vector<double> marks = axis_marks(longest_ms, kMostMarks);
  const double step = marks.size() > 1 ? marks[1] : 1;
  const int decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
  std::string drawn = line_between(kLeft, y, kWidth - kRight, y, "stroke=\"#333333\"");
  for (const double mark : marks) {
    if (mark > longest_ms) break;
    const double x = kLeft + scale.px_of(static_cast<int64_t>(mark * 1e6));
    drawn += line_between(x, y, x, y + 5, "stroke=\"#333333\"");
    drawn += text_at(x, y + 19, "middle", format_fixed(mark, decimals));
  }
  return drawn + text_at(kWidth - kRight + 10, y + 19, "start", "ms");
}

}  // namespace

std::string timeline_svg(const std::string& title, const std::string& subtitle,
                         const std::vector<TimelinePanel>& panels) {
  int64_t longest = 1;
  for (const TimelinePanel& panel : panels) longest = std::max(longest, panel.call.wall_ns());
  const Scale scale{static_cast<double>(longest)};
  std::string body = text_at(kLeft, 26, "start", title, " font-size=\"15\"");
  body += text_at(kLeft, 45, "start", subtitle, " fill=\"#555555\"") + legend(panels);
  double y = kTop;
  for (const TimelinePanel& panel : panels) {
    const Drawn drawn = draw(panel, y, scale);
    body += drawn.svg;
    y = drawn.bottom + kPanelGap;
  }
  body += axis(y - kPanelGap / 2, longest, scale);
  return svg::document(kWidth, y - kPanelGap / 2 + kAxis, title, body);
}

}  // namespace shadowattn::tool
