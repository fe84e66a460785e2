#include "engine/layer_memory.h"

#include <algorithm>

namespace shadowattn {

std::vector<KvHeadMemory>& LayerMemory::heads(int32_t layer, int64_t kv_heads) {
  constexpr int32_t kNoLayer = -1;
  constexpr int32_t kMostLayers = 4096;
  if (layer < 0 || layer >= kMostLayers) layer = kNoLayer;
  std::vector<KvHeadMemory>& heads = layers_[layer];
  if (layer == kNoLayer || std::ssize(heads) != kv_heads) {
    heads.assign(static_cast<size_t>(kv_heads), KvHeadMemory());
  }
  return heads;
}

bool LayerMemory::is_stale(const KvHeadMemory& head, int64_t keys) {
  return head.chosen_at == 0 || 2 * keys > 3 * head.chosen_at || 2 * keys < head.chosen_at;
}

void LayerMemory::judge(std::span<const RowSample> samples, int64_t group_heads, double attn_error,
                        std::vector<KvHeadMemory>& heads) {
  if (attn_error <= 0.0) return;
  for (const RowSample& sample : samples) {
    KvHeadMemory& head = heads[static_cast<size_t>(sample.head / group_heads)];
    ++head.samples;
    head.lost += sample.lost;
    if (head.samples < kJudged) continue;
    const bool missed = head.lost > attn_error * static_cast<double>(head.samples);
    head.misses = missed ? head.misses + 1 : 0;
    if (head.misses == 2) {
      head.strictness = std::min(2.0 * head.strictness, kStrictest);
      head.misses = 0;
    }
    const bool easy = head.lost < 0.25 * attn_error * static_cast<double>(head.samples);
    head.easy = easy && head.strictness > 1.0 ? head.easy + 1 : 0;
    if (head.easy == kEasyRuns) {
      head.strictness = std::max(0.5 * head.strictness, 1.0);
      head.easy = 0;
    }
    head.samples = 0;
    head.lost = 0.0;
  }
}

}  // namespace shadowattn
