// A picture of attention calls over time, as SVG.
#pragma once

#include <string>
#include <vector>

#include "trace/timeline.h"

namespace shadowattn::tool {

/// One call, drawn with a lane for the device and one for each CPU thread.
struct TimelinePanel {
  std::string title;
  std::string device;  ///< its name
  TimelineCall call;
};

/// One panel above the other, on the same time scale, each from its call's start. What was idle is
/// left blank, and each lane says how much that was. Texts may hold any characters.
std::string timeline_svg(const std::string& title, const std::string& subtitle,
                         const std::vector<TimelinePanel>& panels);

}  // namespace shadowattn::tool
