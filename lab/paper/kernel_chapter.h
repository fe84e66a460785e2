// The chapter of the report about one attention call.
#pragma once

#include "paper/findings.h"

namespace shadowattn::tool::paper {

/// Times as fast as dense attention with float estimates, at best, by the measured parts of a part
/// "float-sparse".
struct FloatSparseBound {
  double keep = 0;
  double estimate_ns = 0;     ///< Q·Kᵀ in f32
  double saved = 0;           ///< share of dense attention's time, with a list per row and head
  double saved_shared = 0;    ///< … with lists shared by 8 rows and a group's heads
  double estimate_share = 0;  ///< of the time with a list per row and head
};
/// Empty when the part does not say.
std::vector<FloatSparseBound> float_sparse_bounds(const Json& values);

/// The least time in nanoseconds that a baseline's method can take with this build's kernels, by
/// what was measured of one setup; NaN when it was not, or for other methods. sparse-f32: Q·Kᵀ in
/// f32, then shadow's selection and attention. block: shadow's attention alone. npu-int8: two INT8
/// products, as the CPU's estimate is one.
double method_bound_ns(const Json& values, const std::string& setup, const std::string& method);

Chapter kernel_chapter(const Findings& findings);

}  // namespace shadowattn::tool::paper
