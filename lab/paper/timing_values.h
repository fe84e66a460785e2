// What the experiments about time keep as JSON, read and put into words. No llama.cpp here.
//
//   "setups": [{"id": "one-core", "label": …, "threads": 1, "device": true, "methods": [
//     {"id": "shadow", "wall_ns": [a sample per round], "cpu_ns": […], "median_wall_ns": …,
//      "llama_ratio": …, "dense_ratio": …, …}]}]
//
// A ratio is how many times as fast a method is: the median of the other's time over its own, pair
// by pair of a round.
#pragma once

#include <string>
#include <vector>

#include "paper/core_setups.h"
#include "paper/findings.h"

namespace shadowattn::tool::paper {

/// "14 query heads, 2 KV heads, head dim 64, 512 query rows".
std::string operands_text(const Json& operands);

/// Of a part's values; null: not measured.
const Json* find_setup(const Json& values, const std::string& id);
const Json* find_method(const Json& setup, const std::string& id);
/// values -> setup -> method -> figure; NaN when any is missing.
double figure(const Json& values, const std::string& setup, const std::string& method,
              const std::string& key);

/// How many times as long `method` takes as `other`: the median over rounds; NaN when one is
/// missing.
double time_ratio(const Json& values, const std::string& setup, const std::string& method,
                  const std::string& other);

/// What a method is called on the page; the id itself when it is not known.
std::string method_label(const std::string& id);

/// "12.3", "0.123", "-" when it is not finite.
std::string milliseconds_text(double nanoseconds);
/// "3.42"; "-".
std::string ratio_text(double ratio);
/// "3.1 to 6.4", "3.1" when all are alike, "-" for none. Not finite ones are left out.
std::string range_text(const std::vector<double>& ratios);

}  // namespace shadowattn::tool::paper
