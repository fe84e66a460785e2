#include <cmath>
#include <utility>

#include "engine/config_keys.h"

namespace shadowattn {
namespace {

constexpr int32_t kMost = 1 << 30;

DeviceOptions& device(Config& config) { return config.engine.device; }
const DeviceOptions& device(const Config& config) { return config.engine.device; }

template <typename Enum>
struct Named {
  std::string_view name;
  Enum value;
};

constexpr Named<PipelineMode> kPipelines[] = {{"off", PipelineMode::kOff},
                                              {"fifo", PipelineMode::kFifo},
                                              {"planned", PipelineMode::kPlanned}};
constexpr Named<ScaleRule> kRules[] = {{"covering", ScaleRule::kCovering},
                                       {"nearest", ScaleRule::kNearest},
                                       {"exact", ScaleRule::kExact}};
constexpr Named<DeviceFault> kFaults[] = {
    {"none", DeviceFault::kNone},   {"slow", DeviceFault::kSlow},
    {"late", DeviceFault::kLate},   {"hang", DeviceFault::kHang},
    {"lost", DeviceFault::kLost},   {"refuse", DeviceFault::kRefuse},
    {"wrong", DeviceFault::kWrong}, {"memory", DeviceFault::kOutOfMemory}};

template <typename Enum, size_t kCount>
bool set_named(const Named<Enum> (&names)[kCount], std::string_view text, Enum& field) {
  for (const Named<Enum>& named : names) {
    if (named.name != text) continue;
    field = named.value;
    return true;
  }
  return false;
}

template <typename Enum, size_t kCount>
std::string name_of(const Named<Enum> (&names)[kCount], Enum value) {
  for (const Named<Enum>& named : names) {
    if (named.value == value) return std::string(named.name);
  }
  return {};
}

bool set_name(std::string_view text, Config& config) {
  for (const std::string_view name : device_names()) {
    if (name != text) continue;
    device(config).name = text;
    return true;
  }
  return false;
}

/// "hang" or "hang@3".
bool set_fault(std::string_view text, Config& config) {
  const size_t at = text.find('@');
  int32_t first = 0;
  if (at != std::string_view::npos && !set_int(text.substr(at + 1), 0, kMost, first)) return false;
  if (!set_named(kFaults, text.substr(0, at), device(config).fault)) return false;
  device(config).fault_at = first;
  return true;
}

std::string get_fault(const Config& config) {
  std::string name = name_of(kFaults, device(config).fault);
  if (device(config).fault_at == 0) return name;
  return name + "@" + format_number(device(config).fault_at);
}

/// "0.1/0.2/0.4"; "auto" for none.
bool set_scales(std::string_view text, std::vector<float>& field) {
  if (text == "auto") {
    field.clear();
    return true;
  }
  std::vector<float> scales;
  for (;;) {
    const size_t slash = text.find('/');
    const auto scale = parse_number<float>(text.substr(0, slash));
    if (!scale || !std::isnormal(*scale) || *scale < 0.0F) return false;
    if (!scales.empty() && *scale <= scales.back()) return false;
    scales.push_back(*scale);
    if (slash == std::string_view::npos) break;
    text.remove_prefix(slash + 1);
  }
  field = std::move(scales);
  return true;
}

std::string get_scales(const std::vector<float>& scales) {
  if (scales.empty()) return "auto";
  std::string text;
  for (const float scale : scales) text += (text.empty() ? "" : "/") + format_number(scale);
  return text;
}

constexpr ConfigKey kKeys[] = {
    {"device", "cpu, npu-sim or hexagon", "what computes the estimate", set_name,
     [](const Config& c) { return device(c).name; }},
    {"pipeline", "off, fifo or planned",
     "the device estimates ahead: not at all, in order, in the best predicted order",
     [](std::string_view t, Config& c) { return set_named(kPipelines, t, device(c).pipeline); },
     [](const Config& c) { return name_of(kPipelines, device(c).pipeline); }},
    {"fuse_heads", "0 ... 1073741824", "KV heads per launch at most; 0: as many as possible",
     [](std::string_view t, Config& c) { return set_int(t, 0, kMost, device(c).fuse_heads); },
     [](const Config& c) { return format_number(device(c).fuse_heads); }},
    {"row_scales", "yes or no", "a scale per query row instead of one per head on the device",
     [](std::string_view t, Config& c) { return set_bool(t, device(c).row_scales); },
     [](const Config& c) { return yes_or_no(device(c).row_scales); }},
    {"center_keys", "yes or no", "the device gets the keys without their mean",
     [](std::string_view t, Config& c) { return set_bool(t, device(c).center_keys); },
     [](const Config& c) { return yes_or_no(device(c).center_keys); }},
    {"query_scales", "auto, or ascending numbers with / between them",
     "static scales of queries to choose from",
     [](std::string_view t, Config& c) { return set_scales(t, device(c).query_scales); },
     [](const Config& c) { return get_scales(device(c).query_scales); }},
    {"key_scales", "auto, or ascending numbers with / between them",
     "static scales of keys to choose from",
     [](std::string_view t, Config& c) { return set_scales(t, device(c).key_scales); },
     [](const Config& c) { return get_scales(device(c).key_scales); }},
    {"scale_rule", "covering, nearest or exact",
     "the smallest scale that covers a head, the nearest one, or no grid",
     [](std::string_view t, Config& c) { return set_named(kRules, t, device(c).scale_rule); },
     [](const Config& c) { return name_of(kRules, device(c).scale_rule); }},
    {"clip", "0 ... 1", "share of rows that a static scale may clip",
     [](std::string_view t, Config& c) { return set_share(t, device(c).clip_share); },
     [](const Config& c) { return format_number(device(c).clip_share); }},
    {"saturate", "0 ... 1", "share of scores that may be cut off at 127",
     [](std::string_view t, Config& c) { return set_share(t, device(c).saturated_share); },
     [](const Config& c) { return format_number(device(c).saturated_share); }},
    {"device_timeout", "0 ... 3600000", "ms until the device counts as lost; 0: its own",
     [](std::string_view t, Config& c) { return set_int(t, 0, 3600000, device(c).timeout_ms); },
     [](const Config& c) { return format_number(device(c).timeout_ms); }},
    {"soc", "a file name without a comma", "npu-sim: limits and times of a real one",
     [](std::string_view t, Config& c) {
       device(c).soc = t;
       return true;
     },
     [](const Config& c) { return device(c).soc; }},
    {"device_cpu", "-1 ... 4095", "npu-sim: core of its thread; -1: any",
     [](std::string_view t, Config& c) { return set_int(t, -1, 4095, device(c).device_cpu); },
     [](const Config& c) { return format_number(device(c).device_cpu); }},
    {"launch_us", "0 ... 1000000", "npu-sim: added to each launch",
     [](std::string_view t, Config& c) { return set_int(t, 0, 1000000, device(c).launch_us); },
     [](const Config& c) { return format_number(device(c).launch_us); }},
    {"max_graphs", "0 ... 1000000", "npu-sim: compiled at a time; 0: its own limit",
     [](std::string_view t, Config& c) { return set_int(t, 0, 1000000, device(c).max_graphs); },
     [](const Config& c) { return format_number(device(c).max_graphs); }},
    {"fault", "none, slow, late, hang, lost, refuse, wrong or memory; with @N from operation N on",
     "npu-sim: what goes wrong", set_fault, get_fault},
};

}  // namespace

std::span<const ConfigKey> device_config_keys() { return kKeys; }

}  // namespace shadowattn
