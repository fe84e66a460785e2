// Which keys are always in a token list: each row's first `sink` and last `recent` visible keys and
// its own token.
#pragma once

#include <cstdint>

#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// force(key) for each of a row; for some keys more than once.
template <typename Force>
void for_each_forced(int64_t sink, int64_t recent, const Visibility& visibility, int64_t head,
                     int64_t row, const Force& force) {
  const RowVisibility& seen = visibility.row(head, row);
  const auto visible = [&](int64_t key) { return seen.plain || visibility.sees(head, row, key); };
  int64_t left = sink;
  for (int64_t key = seen.begin; key < seen.end && left > 0; ++key) {
    if (!visible(key)) continue;
    force(key);
    --left;
  }
  // Recent means up to the row's own token, which need not be the last: a shifted context writes
  // new tokens into the hole that old ones left.
  if (seen.own >= 0) force(seen.own);
  left = recent;
  for (int64_t key = seen.own >= 0 ? seen.own : seen.end - 1; key >= seen.begin && left > 0;
       --key) {
    if (!visible(key)) continue;
    force(key);
    --left;
  }
}

/// The same for all rows of a list.
template <typename Force>
void for_each_forced(const EngineOptions& options, const Visibility& visibility,
                     const ListRows& list, const Force& force) {
  for (int64_t i = 0; i < list.count(); ++i) {
    if (i > 0 && visibility.same_for(list.head(i), list.head(i - 1)) &&
        list.row(i) == list.row(i - 1)) {
      continue;  // heads that share the mask force the same keys
    }
    for_each_forced(options.sink, options.recent, visibility, list.head(i), list.row(i), force);
  }
}

}  // namespace shadowattn
