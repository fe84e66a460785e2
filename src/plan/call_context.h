// What every stage of a call needs to know of it.
#pragma once

#include <span>

#include "kernels/kernel_set.h"
#include "plan/head_lists.h"
#include "plan/list_plan.h"
#include "shadowattn/engine.h"

namespace shadowattn {

class KeyEstimates;  // pilot/pilot.h

/// What a tile needs to know of its call; read-only and shared by all threads.
struct CallContext {
  const AttentionCall& call;
  const EngineOptions& options;
  const KernelSet& kernels;
  const Visibility& visibility;
  const CallPlan& plan;
  const KeyEstimates& keys;               ///< of the KV heads whose tiles need them
  std::span<const HeadLists> heads = {};  ///< [KV heads]; empty when the plan is dense
  int64_t parts = 1;                      ///< into which a dense call cuts its keys
  bool on_device = false;                 ///< some tiles come with a device's scores
  Trace* trace = nullptr;

  const ListBudget& budget(int64_t kv_head) const {
    return heads[static_cast<size_t>(kv_head)].budget;
  }
  /// The same with another plan, which must outlive it.
  CallContext with(const CallPlan& other) const {
    return {call, options, kernels, visibility, other, keys, heads, parts, on_device, trace};
  }
};

/// Whether the lists of a tile would keep all that its rows see.
bool keeps_everything(const CallContext& context, const QueryTile& tile, int64_t kv_head);

}  // namespace shadowattn
