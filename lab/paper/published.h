// Figures of the paper "Dynamic Sparse Attention on Mobile SoCs", arXiv 2508.16703, as published:
// measured on phones with other models than ours. Each table says where it stands.
#pragma once

#include <array>
#include <string_view>

namespace shadowattn::tool::paper::published {

inline constexpr std::string_view kPaper = "arXiv 2508.16703";

// Section 2: Qwen2-0.5B, two random heads, 128 samples of WikiText-2: shares of softmax scores.
inline constexpr double kScoresBelow001 = 0.80;  ///< "more than 80 % below 0.01"
inline constexpr double kScoresBelow003 = 0.90;  ///< "more than 90 % below 0.03"
/// Share of tokens that are unimportant in Qwen2-1.5B.
inline constexpr double kUnimportantTokens = 0.80;

/// Table 4: recall of important positions, INT8 per tensor against float, in %, mean over heads,
/// 128 samples of WikiText-2.
inline constexpr std::array<double, 5> kRecallKeeps = {0.2, 0.3, 0.4, 0.5, 0.8};
struct Recall {
  std::string_view model;
  std::array<double, 5> percent;  ///< by kRecallKeeps
};
inline constexpr std::array<Recall, 4> kRecall = {{
    {"PhoneLM-0.5B", {99.32, 99.39, 99.45, 99.51, 99.79}},
    {"PhoneLM-1.5B", {99.24, 99.27, 99.29, 99.34, 99.61}},
    {"Qwen2-0.5B", {99.03, 99.32, 99.51, 99.59, 99.86}},
    {"Qwen2-1.5B", {99.68, 99.80, 99.83, 99.84, 99.95}},
}};

/// Section 3.3, Qwen2-0.5B: of the scales of Q this share is above 0.2, and that below 0.1.
inline constexpr double kLargeQueryScales = 0.30;
inline constexpr double kSmallQueryScales = 0.20;

/// Table 6: accuracy. Rouge-L F1 (ArxivSum), top-5 step accuracy (DroidCall), top-5 selection
/// accuracy (Octopus); 5-shot.
struct Accuracy {
  std::string_view model;
  std::string_view task;
  double full;    ///< C/G-Full: float attention on CPU or GPU
  double sparse;  ///< C/G-Sparse: float estimate
  double block;   ///< C/G-Block-Sparse: blocks of 64 tokens
  double npu;     ///< NPU-Full: INT8 attention
  double shadow;
};
inline constexpr std::array<Accuracy, 12> kAccuracy = {{
    {"PhoneLM-0.5B", "ArxivSum", 14.7, 14.9, 10.0, 0.0, 15.2},
    {"PhoneLM-0.5B", "DroidCall", 27.5, 24.0, 25.5, 20.5, 25.5},
    {"PhoneLM-0.5B", "Octopus", 64.6, 71.3, 62.9, 24.1, 64.0},
    {"PhoneLM-1.5B", "ArxivSum", 11.9, 12.1, 6.0, 0.0, 12.0},
    {"PhoneLM-1.5B", "DroidCall", 20.5, 23.5, 28.5, 19.0, 25.5},
    {"PhoneLM-1.5B", "Octopus", 79.2, 75.8, 45.5, 24.7, 75.8},
    {"Qwen2-0.5B", "ArxivSum", 10.7, 11.4, 10.8, 9.4, 11.3},
    {"Qwen2-0.5B", "DroidCall", 34.5, 34.5, 26.0, 27.5, 37.5},
    {"Qwen2-0.5B", "Octopus", 60.6, 42.1, 37.6, 34.8, 61.2},
    {"Qwen2-1.5B", "ArxivSum", 8.5, 2.0, 4.2, 9.1, 8.4},
    {"Qwen2-1.5B", "DroidCall", 48.0, 19.0, 15.5, 22.5, 44.5},
    {"Qwen2-1.5B", "Octopus", 61.2, 21.9, 32.0, 34.2, 56.1},
}};
/// Table 6, last row: averages.
inline constexpr Accuracy kMeanAccuracy = {"average", "", 36.8, 29.4, 25.4, 18.8, 36.4};

/// Section 2: speed-up of float sparse attention with a dense estimate on one CPU core, over dense
/// attention, by share kept; and how much of its time the estimate takes at 20 %.
struct FloatSparse {
  double keep;
  double speedup;  ///< share of time saved
};
inline constexpr std::array<FloatSparse, 3> kFloatSparse = {
    {{0.4, 0.124}, {0.3, 0.247}, {0.2, 0.343}}};
inline constexpr double kFloatEstimateShare = 0.667;

/// Latency of one attention kernel at 1024, 2048 and 4096 tokens with random operands, one middle
/// core of a Xiaomi 14: times as fast as C/G-Full, and as the lossy baselines.
inline constexpr double kKernelSpeedupMost = 6.9;
inline constexpr double kKernelSpeedupMean = 3.5;
inline constexpr double kKernelSpeedupOverLossy = 4.0;

/// End to end on the same phone: times as fast as C/G-Full.
inline constexpr double kEndToEndSpeedupMost = 4.5;
inline constexpr double kEndToEndSpeedupMean = 2.9;

/// Example of NPU times, Xiaomi 14, Q 128 x 64, K 2048 x 64, in milliseconds for 1, 2, 4 heads.
inline constexpr std::array<double, 3> kNpuLaunchMs = {2, 3, 4};

/// Table 8: energy of one attention kernel, J, length 1024, Redmi K60 Champion (Snapdragon 8
/// Gen 2).
struct Energy {
  std::string_view model;
  double full, sparse, block, npu, shadow;
};
inline constexpr std::array<Energy, 4> kEnergy = {{
    {"PhoneLM-0.5B", 3.72, 2.81, 1.10, 0.85, 0.66},
    {"PhoneLM-1.5B", 8.59, 5.16, 1.51, 1.29, 1.12},
    {"Qwen2-0.5B", 3.38, 2.35, 0.88, 0.85, 0.56},
    {"Qwen2-1.5B", 5.29, 3.28, 0.85, 1.10, 0.71},
}};

/// Ablation, Qwen2-0.5B on Octopus: points of accuracy lost without buckets; accuracy with a share
/// per head and with one share for all; accuracy with all attention on the NPU.
inline constexpr double kWithoutBuckets = -1.2;
inline constexpr double kSharePerHead = 60.1;
inline constexpr double kOneShare = 52.8;
inline constexpr double kAllOnNpu = 34.8;

/// Defaults of the paper.
inline constexpr double kKeep = 0.2;
inline constexpr int kBuckets = 9;
inline constexpr double kStep = 0.5;

}  // namespace shadowattn::tool::paper::published
