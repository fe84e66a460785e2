// A picture of speed over depth, as SVG.
#pragma once

#include <string>
#include <vector>

namespace shadowattn::tool {

struct CurvePoint {
  double depth = 0;  ///< tokens
  double rate = 0;   ///< tokens per second
};

struct CurveLine {
  std::string label;  ///< lines of equal label look the same in every panel
  std::vector<CurvePoint> points;
};

struct CurvePanel {
  std::string title;
  std::vector<CurveLine> lines;
};

/// One panel beside the other, under a common title and legend. Texts may hold any characters.
std::string depth_curve_svg(const std::string& title, const std::vector<CurvePanel>& panels);

}  // namespace shadowattn::tool
