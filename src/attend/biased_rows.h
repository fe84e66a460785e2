// What the mask adds to the logits of a block of a list, row by row.
#pragma once

#include <cstdint>

#include "kernels/attend/attend.h"
#include "plan/list_rows.h"
#include "plan/visibility.h"
#include "select/token_lists.h"

namespace shadowattn {

/// step(i, values, slope) for each row i of `rows` that is biased: what is added for key j of `run`
/// is Visibility::scaled_bias(values[j], slope). Heads that share a mask read it once.
template <typename Step>
void for_each_biased_row(const Visibility& visibility, const ListRows& rows, const TokenList& run,
                         const Step& step) {
  float values[kAttendBlock] = {};
  for (int64_t i = 0; i < rows.count(); ++i) {
    const int64_t head = rows.head(i);
    if (!visibility.row(head, rows.row(i)).biased) continue;  // its bits say it all
    const bool as_before =
        i > 0 && rows.row(i) == rows.row(i - 1) && visibility.same_keys(head, rows.head(i - 1));
    if (!as_before) {
      visibility.mask_values(head, rows.row(i), run.keys, run.first, run.count, values);
    }
    step(i, values, visibility.slope(head));
  }
}

}  // namespace shadowattn
