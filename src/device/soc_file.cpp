#include "device/soc_file.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <vector>

#include "device/device_queue.h"
#include "device/head_scorer.h"

namespace shadowattn {
namespace {

using nlohmann::json;

struct Unit {
  std::string_view name;
  double factor;
};

constexpr Unit kTimes[] = {{"ns", 1.0}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
constexpr Unit kSizes[] = {{"B", 1.0}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
constexpr Unit kOperationRates[] = {{"op/s", 1.0}, {"Gop/s", 1e9}, {"Top/s", 1e12}};
constexpr Unit kByteRates[] = {{"B/s", 1.0}, {"MB/s", 1e6}, {"GB/s", 1e9}};
constexpr Unit kHeads[] = {{"heads", 1.0}};
constexpr Unit kRows[] = {{"rows", 1.0}};
constexpr Unit kKeys[] = {{"keys", 1.0}};
constexpr Unit kElements[] = {{"elements", 1.0}};
constexpr Unit kGraphs[] = {{"graphs", 1.0}};
constexpr Unit kOperations[] = {{"operations", 1.0}};
constexpr Unit kCores[] = {{"cores", 1.0}};
constexpr Unit kFactors[] = {{"times", 1.0}};
constexpr Unit kExponents[] = {{"exponent", 1.0}};

constexpr double kHour = 3600e9;        // ns
constexpr char kPrefill[] = "prefill";  // the group that a file may leave out

/// One figure of a file: its place, the units it may have, its range in the first of these.
struct Figure {
  const char* group;
  const char* name;
  std::span<const Unit> units;
  double smallest;
  double largest;
  bool whole;  ///< a whole number in the first unit
  bool required = true;
};

enum FigureIndex : size_t {
  kMaxHeads,
  kMaxRows,
  kMaxKeys,
  kMaxDim,
  kRowMultiple,
  kKeyMultiple,
  kDimMultiple,
  kMaxGraphs,
  kMaxGraphBytes,
  kMaxTensorBytes,
  kMaxMemory,
  kQueueDepth,
  kTimeout,
  kCompile,
  kLaunch,
  kHead,
  kOperationRate,
  kOperandRate,
  kLinearRate,
  kPilotRate,
  kEstimateRate,
  kSelect,
  kAttendRate,
  kDenseAttention,
  kDenseScaling,
  kMemoryBandwidth,
  kPrimeCores,
  kMiddleCores,
  kSmallCores,
  kPrimeSpeed,
  kSmallSpeed,
  kFigures,
};

/// In the order of FigureIndex. The ranges keep every product of sizes far from overflow.
constexpr std::array<Figure, kFigures> kFigureTable = {{
    {"limits", "max_heads", kHeads, 1, 256, true},
    {"limits", "max_rows", kRows, 1, 1 << 16, true},
    {"limits", "max_keys", kKeys, 1, 1 << 20, true},
    {"limits", "max_dim", kElements, 16, kLargestScoredDim, true},
    {"limits", "row_multiple", kRows, 1, 1024, true},
    {"limits", "key_multiple", kKeys, 64, 4096, true},
    {"limits", "dim_multiple", kElements, 16, kLargestScoredDim, true},
    {"limits", "max_graphs", kGraphs, 1, 1 << 16, true},
    {"limits", "max_graph_memory", kSizes, 1, 0x1p40, true},
    {"limits", "max_tensor", kSizes, 1, 0x1p40, true},
    {"limits", "max_memory", kSizes, 1, 0x1p40, true},
    {"limits", "queue_depth", kOperations, 1, 1024, true},
    {"limits", "timeout", kTimes, 1e6, kHour, false},
    {"times", "compile", kTimes, 0, kHour, false},
    {"times", "launch", kTimes, 0, kHour, false},
    {"times", "head", kTimes, 0, kHour, false},
    {"times", "operation_rate", kOperationRates, 1e6, 1e18, false},
    {"times", "operand_rate", kByteRates, 1e6, 1e18, false, false},
    {kPrefill, "linear_rate", kOperationRates, 1e6, 1e18, false},
    {kPrefill, "pilot_rate", kOperationRates, 1e6, 1e18, false},
    {kPrefill, "estimate_rate", kOperationRates, 1e6, 1e18, false},
    {kPrefill, "select", kTimes, 1e-6, 1e6, false},
    {kPrefill, "attend_rate", kOperationRates, 1e6, 1e18, false},
    {kPrefill, "dense_attention", kTimes, 1e-6, 1e6, false},
    {kPrefill, "dense_scaling", kExponents, 0, 1, false},
    {kPrefill, "memory_bandwidth", kByteRates, 1e6, 1e18, false},
    {kPrefill, "prime_cores", kCores, 0, 256, true},
    {kPrefill, "middle_cores", kCores, 1, 256, true},
    {kPrefill, "small_cores", kCores, 0, 256, true},
    {kPrefill, "prime_speed", kFactors, 0.01, 100, false},
    {kPrefill, "small_speed", kFactors, 0.01, 100, false},
}};

using Values = std::array<double, kFigures>;

Status error_at(const std::string& place, const std::string& what) {
  return Status::invalid_argument(place + " " + what);
}

/// A number as people write it: no digits that mean nothing.
std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.10g", value);
  return text.data();
}

/// Only the keys `known`, and all of them but `optional`.
template <typename Names>
Status check_keys(const json& object, const std::string& place, const Names& known,
                  const std::set<std::string>& optional = {}) {
  if (!object.is_object()) return error_at(place, "is not an object");
  std::set<std::string> missing(known.begin(), known.end());
  for (const auto& [key, value] : object.items()) {
    if (missing.erase(key) == 0) return error_at(place, "has an unknown entry \"" + key + "\"");
  }
  for (const std::string& key : missing) {
    if (!optional.contains(key)) return error_at(place, "lacks \"" + key + "\"");
  }
  return {};
}

Status check_text(const json& object, const char* key, const std::string& place) {
  const json& value = object[key];
  if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
    return error_at(place, std::string("needs a text as \"") + key + "\"");
  }
  return {};
}

Result<double> unit_factor(const std::string& unit, const Figure& figure,
                           const std::string& place) {
  std::string known;
  for (const Unit& u : figure.units) {
    if (u.name == unit) return u.factor;
    known += (known.empty() ? "" : ", ") + std::string(u.name);
  }
  return error_at(place, "has the unit \"" + unit + "\"; known: " + known);
}

Result<double> read_figure(const json& object, const Figure& figure, const std::string& place) {
  constexpr std::array<const char*, 3> kKeysOfFigure = {"value", "unit", "source"};
  Status s = check_keys(object, place, kKeysOfFigure);
  if (s.ok()) s = check_text(object, "unit", place);
  if (s.ok()) s = check_text(object, "source", place);
  if (!s.ok()) return s;
  if (!object["value"].is_number()) return error_at(place, "needs a number as \"value\"");
  auto factor = unit_factor(object["unit"].get<std::string>(), figure, place);
  if (!factor.ok()) return factor;
  const double value = object["value"].get<double>() * factor.value();
  if (!(value >= figure.smallest && value <= figure.largest)) {
    return error_at(place, "must be between " + number(figure.smallest) + " and " +
                               number(figure.largest) + " " + std::string(figure.units[0].name));
  }
  if (figure.whole && value != std::floor(value)) {
    return error_at(place, "must be a whole number of " + std::string(figure.units[0].name));
  }
  return value;
}

Status read_group(const json& root, const char* group, const std::string& origin, Values& values) {
  std::vector<std::string> names;
  std::set<std::string> optional;
  for (const Figure& figure : kFigureTable) {
    if (std::string_view(figure.group) != group) continue;
    names.emplace_back(figure.name);
    if (!figure.required) optional.insert(figure.name);
  }
  const std::string place = origin + ": " + group;
  if (Status s = check_keys(root[group], place, names, optional); !s.ok()) return s;
  for (size_t i = 0; i < kFigures; ++i) {
    const Figure& figure = kFigureTable[i];
    if (std::string_view(figure.group) != group || !root[group].contains(figure.name)) continue;
    const auto value = read_figure(root[group][figure.name], figure, place + "." + figure.name);
    if (!value.ok()) return value.status();
    values[i] = value.value();
  }
  return {};
}

Status check_multiple(const Values& values, FigureIndex maximum, FigureIndex multiple,
                      double needed, const std::string& origin) {
  const std::string place = origin + ": limits.";
  if (std::fmod(values[multiple], needed) != 0.0) {
    return error_at(place + kFigureTable[multiple].name, "must be a multiple of " + number(needed));
  }
  if (std::fmod(values[maximum], values[multiple]) != 0.0) {
    return error_at(place + kFigureTable[maximum].name,
                    std::string("must be a multiple of ") + kFigureTable[multiple].name);
  }
  return {};
}

PrefillRates prefill_rates(const Values& values) {
  const auto whole = [&](FigureIndex i) { return static_cast<int>(values[i]); };
  return {.linear_operations_per_second = values[kLinearRate],
          .pilot_operations_per_second = values[kPilotRate],
          .estimate_operations_per_second = values[kEstimateRate],
          .select_ns = values[kSelect],
          .attend_operations_per_second = values[kAttendRate],
          .dense_attention_ns = values[kDenseAttention],
          .dense_scaling = values[kDenseScaling],
          .memory_bytes_per_second = values[kMemoryBandwidth],
          .prime_cores = whole(kPrimeCores),
          .middle_cores = whole(kMiddleCores),
          .small_cores = whole(kSmallCores),
          .prime_speed = values[kPrimeSpeed],
          .small_speed = values[kSmallSpeed]};
}

SocDescription describe(const Values& values, const std::string& name) {
  const auto whole = [&](FigureIndex i) { return static_cast<int32_t>(values[i]); };
  const auto bytes = [&](FigureIndex i) { return static_cast<int64_t>(values[i]); };
  SocDescription soc;
  DeviceCapabilities& c = soc.capabilities;
  c.name = "npu-sim";
  c.description = "limits and times of " + name + ", played by a thread of this process";
  c.max_heads = whole(kMaxHeads);
  c.max_rows = whole(kMaxRows);
  c.max_keys = whole(kMaxKeys);
  c.max_dim = whole(kMaxDim);
  c.row_multiple = whole(kRowMultiple);
  c.key_multiple = whole(kKeyMultiple);
  c.dim_multiple = whole(kDimMultiple);
  c.max_graphs = whole(kMaxGraphs);
  c.max_graph_bytes = bytes(kMaxGraphBytes);
  c.max_tensor_bytes = bytes(kMaxTensorBytes);
  c.max_memory_bytes = bytes(kMaxMemory);
  c.queue_depth = whole(kQueueDepth);
  c.concurrent = true;
  c.timeout = std::chrono::milliseconds(static_cast<int64_t>(values[kTimeout] / 1e6));
  soc.latency = {.compile_ns = values[kCompile],
                 .launch_ns = values[kLaunch],
                 .head_ns = values[kHead],
                 .operations_per_second = values[kOperationRate],
                 .operand_bytes_per_second = values[kOperandRate]};
  return soc;
}

Result<SocDescription> read_root(const json& root, const std::string& origin) {
  constexpr std::array<const char*, 5> kRootKeys = {"schema", "name", "limits", "times", kPrefill};
  Status s = check_keys(root, origin, kRootKeys, {kPrefill});
  if (s.ok() && root["schema"] != 1) s = error_at(origin, "has a \"schema\" other than 1");
  if (s.ok()) s = check_text(root, "name", origin);
  Values values{};
  if (s.ok()) s = read_group(root, "limits", origin, values);
  if (s.ok()) s = read_group(root, "times", origin, values);
  const bool has_prefill = s.ok() && root.contains(kPrefill);
  if (has_prefill) s = read_group(root, kPrefill, origin, values);
  if (s.ok()) s = check_multiple(values, kMaxRows, kRowMultiple, 1, origin);
  // Ranks are made of 64 scores at a time; the kernels take 16 dimensions at a time.
  if (s.ok()) s = check_multiple(values, kMaxKeys, kKeyMultiple, 64, origin);
  if (s.ok()) s = check_multiple(values, kMaxDim, kDimMultiple, 16, origin);
  if (!s.ok()) return s;
  SocDescription soc = describe(values, root["name"].get<std::string>());
  if (has_prefill) soc.prefill = prefill_rates(values);
  return soc;
}

/// Parses what no file of this kind needs to be deeper than; a key that comes twice is an error.
class StrictParser {
 public:
  Result<json> parse(std::string_view text, const std::string& origin) {
    Status problem;
    std::vector<std::set<std::string>> keys;  // of the objects that are open
    const auto callback = [&](int depth, json::parse_event_t event, json& parsed) {
      if (event == json::parse_event_t::object_start) keys.emplace_back();
      if (event == json::parse_event_t::object_end) keys.pop_back();
      if (event == json::parse_event_t::key && !keys.back().insert(parsed).second && problem.ok()) {
        problem = error_at(origin, "has \"" + parsed.get<std::string>() + "\" twice in one object");
      }
      if (depth > kDeepest && problem.ok()) problem = error_at(origin, "is nested too deeply");
      return problem.ok();  // false drops the value, so nothing deep is ever kept
    };
    try {
      json parsed = json::parse(text, callback);
      if (!problem.ok()) return problem;
      return parsed;
    } catch (const json::exception& e) {
      return error_at(origin, std::string("is not JSON: ") + e.what());
    }
  }

 private:
  static constexpr int kDeepest = 4;
};

Result<std::string> read_file(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return error_at(path, "is no regular file");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (file == nullptr) return error_at(path, "cannot be opened");
  std::string text(kLargestSocFile + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) return error_at(path, "cannot be read");
  return text;
}

}  // namespace

Result<SocDescription> parse_soc(std::string_view text, std::string_view origin) try {
  const std::string name(origin);
  if (text.size() > kLargestSocFile) {
    return error_at(name, "is longer than " + std::to_string(kLargestSocFile) + " bytes");
  }
  const auto root = StrictParser().parse(text, name);
  if (!root.ok()) return root.status();
  return read_root(root.value(), name);
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<SocDescription> load_soc(const std::string& path) try {
  const auto text = read_file(path);
  if (!text.ok()) return text.status();
  return parse_soc(text.value(), path);
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace shadowattn
