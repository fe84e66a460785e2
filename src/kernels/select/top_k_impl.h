// top_k over counting and collecting primitives. The threshold is found by bisection on the value
// range: some 15 passes over a row that lies in the first-level cache, each a compare and an add
// per vector, beat a sort and have no data-dependent branch.
//
// Ops::row_max(p, n); Ops::count_at_least(p, n, t); Ops::collect(p, n, t, ties, out): indices of
// all elements above t and of the first `ties` equal to t, ascending.
#pragma once

#include <cstdint>

#include "kernels/select/select.h"

namespace shadowattn {

template <typename Ops>
int64_t top_k(const int16_t* importance, int64_t n, int64_t k, int32_t* out) {
  if (n <= 0 || k <= 0) return 0;
  const int32_t top = Ops::row_max(importance, n);
  if (top == kHiddenScore) return 0;
  // Largest threshold t with count(value ≥ t) ≥ k, or the smallest visible score if there is none.
  // Invariant: count(≥ low) ≥ k or low is that smallest score; count(≥ high) < k.
  int32_t low = kHiddenScore + 1;
  int32_t high = top + 1;
  int64_t above = 0;  // count(≥ high)
  while (high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    const int64_t count = Ops::count_at_least(importance, n, static_cast<int16_t>(middle));
    if (count >= k) {
      low = middle;
      if (count == k) {
        above = k;
        break;
      }
    } else {
      high = middle;
      above = count;
    }
  }
  // On the early exit all k are ≥ low, so that all ties at `low` are wanted; else k - above of
  // them.
  const int64_t ties = above == k ? k : k - above;
  return Ops::collect(importance, n, static_cast<int16_t>(low), ties, out);
}

}  // namespace shadowattn
