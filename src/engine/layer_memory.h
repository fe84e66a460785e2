// What an engine learns of a layer's heads from one call for the next: which lists suit them, and
// whether they keep their promise.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "shadowattn/engine.h"
#include "shadowattn/profile.h"

namespace shadowattn {

/// Of one KV head of a layer.
struct KvHeadMemory {
  ListShape lists;          ///< chosen when it had last been looked at
  double kept = 1.0;        ///< share of tokens that such lists kept then
  int64_t chosen_at = 0;    ///< visible keys then; 0: never
  double strictness = 1.0;  ///< attn_error is divided by it

  // Samples since the promise was last judged.
  int64_t samples = 0;
  double lost = 0.0;
  int32_t misses = 0;  ///< in a run
  int32_t easy = 0;    ///< judgements in a run that found far less lost than is allowed
};

class LayerMemory {
 public:
  /// The KV heads of a layer; of what is no layer of a model (-1, or a number beyond all models)
  /// ones that are forgotten with the next call. Throws std::bad_alloc.
  std::vector<KvHeadMemory>& heads(int32_t layer, int64_t kv_heads);

  /// Whether lists must be chosen anew: never done, or the context has grown by half since, or is
  /// another one, less than half as long.
  static bool is_stale(const KvHeadMemory& head, int64_t keys);

  /// Takes note of what sampled rows of a call lost. A KV head whose rows lost more than
  /// `attn_error` on average, twice in a run of kJudged samples each, is given half as much to lose
  /// from then on; one that lost less than a quarter of it, kEasyRuns times in a run, twice as much
  /// again, up to all of it.
  static void judge(std::span<const RowSample> samples, int64_t group_heads, double attn_error,
                    std::vector<KvHeadMemory>& heads);

  static constexpr int64_t kJudged = 8;
  static constexpr int32_t kEasyRuns = 4;
  static constexpr double kStrictest = 64.0;

 private:
  std::map<int32_t, std::vector<KvHeadMemory>> layers_;
};

}  // namespace shadowattn
