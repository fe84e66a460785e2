// The chapter on Table 6, what tasks and texts lose by each way to attend, from findings alone.
#pragma once

#include <array>
#include <string_view>

#include "paper/findings.h"

namespace shadowattn::tool::paper::accuracy {

inline constexpr std::string_view kDense = "dense";
inline constexpr std::string_view kPaperShadow = "shadow, paper's setting";
inline constexpr std::string_view kDefaultShadow = "shadow, defaults";

/// A way to attend, by our name and by the paper's.
struct Column {
  std::string_view name;
  std::string_view paper_name;
};

inline constexpr std::array<Column, 6> kColumns = {{{kDense, "C/G-Full"},
                                                    {"sparse-f32", "C/G-Sparse"},
                                                    {"block", "C/G-Block-Sparse"},
                                                    {"npu-int8", "NPU-Full"},
                                                    {kPaperShadow, "shadowAttn"},
                                                    {kDefaultShadow, "-"}}};

/// A part whose questions are answered.
struct Task {
  std::string_view id;
  std::string_view title;
  std::string_view after;  ///< the task of the paper that it is like; may be empty
};

inline constexpr std::array<Task, 5> kTasks = {
    {{"needle", "needle: facts in a text", ""},
     {"recite", "recite: passages of a text", ""},
     {"track", "track: chains of statements", ""},
     {"select", "select: a function of a list, in the first five", "Octopus"},
     {"step", "step: a whole call, exact", "DroidCall"}}};

/// The part that reads texts.
inline constexpr std::string_view kReading = "reading";

/// From what the parts found; accuracy.cpp says which keys that has.
Chapter write_chapter(const Findings& findings);

}  // namespace shadowattn::tool::paper::accuracy
