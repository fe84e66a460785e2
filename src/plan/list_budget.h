// How many tokens the lists of a KV head may keep, and how much mass they may lose.
#pragma once

#include <cstdint>

#include "shadowattn/engine.h"

namespace shadowattn {

struct ListBudget {
  double keep = 1.0;        ///< share of visible tokens, at most
  double attn_error = 0.0;  ///< share of mass that may be lost; 0: always as many as `keep` says
  int64_t floor = 0;        ///< tokens; what sees no more is dense

  static ListBudget from(const EngineOptions& options) {
    return {options.keep, options.attn_error, options.keep_floor};
  }

  /// Lists end where enough mass is reached.
  bool by_mass() const { return attn_error > 0.0; }

  /// clamp(ceil(keep · visible), floor, visible): the most that a list keeps, or, without an aim
  /// for the mass, what it keeps.
  int64_t most(int64_t visible) const;

  /// Whether a list whose rows see so much keeps all of it whatever the estimate says.
  bool keeps_all(int64_t visible) const {
    return by_mass() ? visible <= floor : most(visible) >= visible;
  }
};

}  // namespace shadowattn
