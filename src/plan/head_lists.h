// The lists of one KV head in one call.
#pragma once

#include "plan/list_budget.h"
#include "shadowattn/profile.h"

namespace shadowattn {

struct HeadLists {
  ListShape lists;
  ListBudget budget;
  bool open = false;        ///< the shape is to be chosen once its keys are quantised
  bool keys_finite = true;  ///< false: its keys hold a NaN or an infinity, no estimate is to be had
};

}  // namespace shadowattn
