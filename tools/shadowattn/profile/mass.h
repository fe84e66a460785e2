// What lists of every shape cost and keep in one captured attention call: the engine itself is
// measured, KV head by KV head.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "shadowattn/attention.h"
#include "shadowattn/profile.h"

namespace shadowattn::tool {

struct MassOptions {
  double attn_error = 0.01;  ///< that lists are chosen for
  int64_t curve_rows = 64;   ///< query rows, the last ones, that kept shares are measured on
  int timed_runs = 3;        ///< of every shape of lists, on all rows; the fastest counts
};

/// The values of attn_error that kept shares are measured for, ascending.
std::span<const double> measured_errors();

/// The shapes of lists to choose from for KV heads with `group_heads` query heads each.
std::vector<ListShape> candidate_lists(int64_t group_heads);

/// The candidate that took least time per pair; dense where that is hardly slower; the default when
/// there is none.
ListShape fastest_lists(std::span<const KeptCurve> curves);

/// Measures every KV head of the call; times are processor time of the calling thread. The output,
/// in `call`, is overwritten. Throws Failure when the engine cannot compute it, or, with the exit
/// status of an interrupted command, once `stopped` returns true.
std::vector<KvHeadProfile> measure_kv_heads(const AttentionCall& call, const MassOptions& options,
                                            const std::function<bool()>& stopped);

}  // namespace shadowattn::tool
