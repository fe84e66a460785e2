#include "paper/timing_values.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>

#include "common/statistics.h"
#include "common/text.h"

namespace shadowattn::tool::paper {

std::string operands_text(const Json& operands) {
  const auto count = [&](const char* key) { return format_count(operands.value(key, int64_t{0})); };
  return count("heads") + " query heads, " + count("kv_heads") + " KV heads, head dim " +
         count("dim") + ", " + count("rows") + " query rows";
}

const Json* find_setup(const Json& values, const std::string& id) {
  const auto setups = values.find("setups");
  if (setups == values.end()) return nullptr;
  for (const Json& setup : *setups) {
    if (setup.value("id", "") == id) return &setup;
  }
  return nullptr;
}

const Json* find_method(const Json& setup, const std::string& id) {
  const auto methods = setup.find("methods");
  if (methods == setup.end()) return nullptr;
  for (const Json& method : *methods) {
    if (method.value("id", "") == id) return &method;
  }
  return nullptr;
}

double figure(const Json& values, const std::string& setup, const std::string& method,
              const std::string& key) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const Json* found = find_setup(values, setup);
  if (found != nullptr) found = find_method(*found, method);
  if (found == nullptr) return kNone;
  const auto value = found->find(key);
  return value != found->end() && value->is_number() ? value->get<double>() : kNone;
}

double time_ratio(const Json& values, const std::string& setup, const std::string& method,
                  const std::string& other) {
  const auto samples = [&](const std::string& id) {
    const Json* found = find_setup(values, setup);
    if (found != nullptr) found = find_method(*found, id);
    return found == nullptr ? std::vector<double>()
                            : found->value("wall_ns", std::vector<double>());
  };
  const double ratio = median_of_ratios(samples(method), samples(other));
  return ratio > 0 ? ratio : std::numeric_limits<double>::quiet_NaN();
}

std::string method_label(const std::string& id) {
  static const std::map<std::string, std::string> labels = {
      {"llama", "llama.cpp (C/G-Full)"},
      {"dense", "dense, ours"},
      {"dense-f32", "dense, ours, f32 throughout"},
      {"shadow", "shadow, the CPU estimates"},
      {"shadow-npu", "shadow, npu-sim estimates"},
      {"shadow-own", "shadow, CPU, a list per row and head"},
      {"sparse-f32", "C/G-Sparse (sparse-f32)"},
      {"block", "C/G-Block-Sparse (block)"},
      {"npu-int8", "NPU-Full (npu-int8), played on the CPU"},
  };
  const auto found = labels.find(id);
  return found == labels.end() ? id : found->second;
}

std::string milliseconds_text(double nanoseconds) {
  if (!std::isfinite(nanoseconds)) return "-";
  const double ms = nanoseconds / 1e6;
  return format_fixed(ms, ms < 1 ? 3 : ms < 100 ? 2 : 1);
}

std::string ratio_text(double ratio) { return std::isfinite(ratio) ? format_fixed(ratio, 2) : "-"; }

std::string range_text(const std::vector<double>& ratios) {
  std::vector<double> finite;
  std::copy_if(ratios.begin(), ratios.end(), std::back_inserter(finite),
               [](double ratio) { return std::isfinite(ratio); });
  if (finite.empty()) return "-";
  const auto [low, high] = std::minmax_element(finite.begin(), finite.end());
  const std::string least = ratio_text(*low);
  const std::string most = ratio_text(*high);
  return least == most ? least : least + " to " + most;
}

}  // namespace shadowattn::tool::paper
