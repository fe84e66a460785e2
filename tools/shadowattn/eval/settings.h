// What shadow attention is evaluated at: how much it may leave out, and which rows and heads share
// a list.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "shadowattn/engine.h"

namespace shadowattn::tool::eval {

/// output_error > 0: lists by it. Else attn_error > 0: as many tokens as that needs, `keep` of them
/// at most; 0: `keep` of them.
struct Setting {
  double output_error = 0;
  double attn_error = 0;
  double keep = 1;

  friend bool operator==(const Setting&, const Setting&) = default;
};

/// Each value by itself, and each setting once, in this order.
std::vector<Setting> separate_settings(std::span<const double> output_errors,
                                       std::span<const double> attn_errors,
                                       std::span<const double> keeps);

/// That of these options.
Setting setting_of(const EngineOptions& options);

/// `options` at a setting. `short_lists`: shares are taken at their word, keep_floor is 1.
EngineOptions options_at(EngineOptions options, const Setting& setting, bool short_lists);

/// "output_error 0.03", "attn_error 0.05", "attn_error 0.05, keep at most 0.2" or "keep 0.1".
std::string setting_text(const Setting& setting);

/// Which query rows and heads share a list.
struct Granularity {
  int32_t rows = 8;         ///< neighbouring rows, 1 … 64
  bool share_heads = true;  ///< the query heads of a KV head share it too

  friend bool operator==(const Granularity&, const Granularity&) = default;
};

/// What is wrong with an item of --granularity; "" when nothing is.
std::string granularity_problem(const std::string& text);

/// Of a text without a problem: "8x1" (each head its own list) or "8xgroup".
Granularity parse_granularity(const std::string& text);

/// As parse_granularity reads it.
std::string granularity_text(const Granularity& granularity);

/// That of these options.
Granularity granularity_of(const EngineOptions& options);

/// `options` with lists of this granularity, whatever shapes their profile has chosen.
EngineOptions options_at(EngineOptions options, const Granularity& granularity);

}  // namespace shadowattn::tool::eval
