// Softmax mass that token lists retain on recorded attention, by how logits are estimated and by
// who shares a list.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "head_operands.h"
#include "mass_lists.h"
#include "score_variant.h"
#include "shadowattn/attention.h"
#include "shadowattn/executor.h"
#include "shadowattn/profile.h"

namespace shadowattn::bench {

struct MassOptions {
  std::vector<double> keeps = {0.05, 0.1, 0.2, 0.5};
  int runs = 4;  ///< runs of kRunRows neighbouring query rows, spread over the call
  ForcedKeys forced;
};

/// Rows looked at together: what the longest lists share.
inline constexpr int64_t kRunRows = 64;

/// An estimate, and the lists to make from it.
struct MassConfig {
  ScoreVariant variant;
  std::vector<ListShape> lists;
};

/// Every precision, every pair of scales, centring and rotation, each row with its own list.
std::vector<MassConfig> estimate_configs();
/// 1 … 64 rows per list, heads apart and together, by float scores, by INT8 operands with a scale
/// per row and key, and by a device's INT8 scores.
std::vector<MassConfig> list_configs();

/// What one estimate with one shape of lists did, over calls.
struct MassResult {
  ScoreVariant variant;
  ListShape lists;
  struct AtKeep {
    std::vector<std::vector<double>> mass;    ///< [head][row]
    std::vector<std::vector<double>> gap;     ///< mass of the row's best keys, as many, less mass
    std::vector<std::vector<double>> recall;  ///< share of these best keys that are kept
  };
  std::vector<AtKeep> keeps;  ///< as MassOptions::keeps
};

/// One for each list of each configuration, in order, empty.
std::vector<MassResult> empty_results(const std::vector<MassConfig>& configs,
                                      const MassOptions& options);

/// Adds a call, its operands changed by `which`; what lists keep is measured by the exact logits of
/// the unchanged ones. Throws tool::Failure; stops at Ctrl-C with one.
void add_call(const AttentionCall& call, OperandCase which, const std::vector<MassConfig>& configs,
              const MassOptions& options, Executor& executor, std::vector<MassResult>* results);

}  // namespace shadowattn::bench
