// What the prediction of a whole prefill needs to know of a SoC, beside what its NPU's launches
// cost (latency_model.h). npu-sim does not use it; `shadowattn-lab simulate` does.
#pragma once

namespace shadowattn {

/// CPU figures are those of one middle core; the other kinds are so many times as fast.
struct PrefillRates {
  double linear_operations_per_second = 0.0;    ///< NPU, linear layers; a multiply-add is two
  double pilot_operations_per_second = 0.0;     ///< NPU, INT8 Q·Kᵀ; 2 · dim per (row, key) pair
  double estimate_operations_per_second = 0.0;  ///< CPU, float Q·Kᵀ; 2 · dim per pair
  double select_ns = 0.0;                       ///< CPU, per pair that a row may see
  double attend_operations_per_second = 0.0;    ///< CPU; 4 · dim per kept pair
  double dense_attention_ns = 0.0;              ///< CPU, per pair, hidden ones included
  double dense_scaling = 0.0;                   ///< n cores do that n^dense_scaling times as fast
  double memory_bytes_per_second = 0.0;
  int prime_cores = 0;
  int middle_cores = 0;
  int small_cores = 0;
  double prime_speed = 0.0;  ///< times as fast as a middle core
  double small_speed = 0.0;
};

}  // namespace shadowattn
