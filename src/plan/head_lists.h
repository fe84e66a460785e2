// The lists of one KV head in one call.
#pragma once

#include "plan/list_budget.h"
#include "shadowattn/profile.h"

namespace shadowattn {

struct HeadLists {
  ListShape lists;
  ListBudget budget;
  bool open = false;  ///< the shape is to be chosen once its keys are quantised
};

}  // namespace shadowattn
