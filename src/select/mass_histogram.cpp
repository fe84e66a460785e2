#include "select/mass_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/select/select.h"

namespace shadowattn {
namespace {

constexpr int kRankBits = 4;                          // ranks per bin, as a power of two
constexpr int64_t kBins = (0x8000 >> kRankBits) + 4;  // hidden keys have the last but three
constexpr int64_t kCounted = 0x7F80 >> kRankBits;     // finite shares; forced keys lie above
constexpr int64_t kBanks = 2;  // neighbours are often alike: two increments of a bin would wait

double bin_share(int64_t bin) {
  const auto middle = static_cast<uint32_t>((bin << kRankBits) + (1 << (kRankBits - 1)));
  return std::bit_cast<float>(middle << 16);
}

}  // namespace

double rank_share(int16_t rank) {
  if (rank < 0 || rank >= 0x7F80) return 0.0;
  return std::bit_cast<float>(static_cast<uint32_t>(rank) << 16);
}

void MassHistogram::reserve() { bins_.reserve(kBanks * kBins); }

void MassHistogram::count(const int16_t* ranks, int64_t n) {
  uint32_t* even = bins_.data();
  uint32_t* odd = even + kBins;
  std::fill_n(even, kBanks * kBins, 0U);
  int64_t j = 0;
  for (; j + 1 < n; j += 2) {
    ++even[static_cast<uint16_t>(ranks[j]) >> kRankBits];
    ++odd[static_cast<uint16_t>(ranks[j + 1]) >> kRankBits];
  }
  if (j < n) ++even[static_cast<uint16_t>(ranks[j]) >> kRankBits];
  counted_ = 0;
  mass_ = 0.0;
  for (int64_t bin = 0; bin < kCounted; ++bin) {
    even[bin] += odd[bin];
    if (even[bin] == 0) continue;
    counted_ += even[bin];
    mass_ += even[bin] * bin_share(bin);
  }
}

int64_t MassHistogram::droppable(double budget) const {
  int64_t dropped = 0;
  for (int64_t bin = 0; bin < kCounted; ++bin) {
    const uint32_t count = bins_.data()[bin];
    if (count == 0) continue;
    const double share = bin_share(bin);
    if (count * share > budget) return dropped + static_cast<int64_t>(budget / share);
    budget -= count * share;
    dropped += count;
  }
  return dropped;
}

double MassHistogram::mass_of_smallest(int64_t count) const {
  double mass = 0.0;
  for (int64_t bin = 0; bin < kCounted && count > 0; ++bin) {
    const int64_t taken = std::min<int64_t>(count, bins_.data()[bin]);
    if (taken == 0) continue;
    mass += static_cast<double>(taken) * bin_share(bin);
    count -= taken;
  }
  return mass;
}

}  // namespace shadowattn
