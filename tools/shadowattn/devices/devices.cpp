// shadowattn devices: what was built, what this machine has, what is used.

#include <ggml-backend.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "common/attention_options.h"
#include "common/failure.h"
#include "common/llama_session.h"
#include "common/plugin_control.h"
#include "common/summary.h"
#include "common/text.h"
#include "shadowattn/cpu.h"
#include "shadowattn/device.h"
#include "subcommands.h"

namespace shadowattn::tool {
namespace {

using nlohmann::json;

constexpr char kIsaVariable[] = "SHADOWATTN_ISA";

json processor_json() {
  const CpuFeatures found = detect_cpu_features();
  const char* forced = std::getenv(kIsaVariable);
  const auto used = resolve_isa(forced == nullptr ? "" : forced);
  if (!used.ok()) throw Failure(std::string(kIsaVariable) + ": " + used.status().message());
  json levels = json::array();
  std::string active;
  for (const IsaLevel& level : isa_levels()) {
    const bool here = found.covers(level.features);
    if (used.value().covers(level.features)) active = level.name;
    levels.push_back({{"name", level.name}, {"available", here}});
  }
  return {{"features", to_string(found)},
          {"levels", levels},
          {"level", active},
          {"threads", default_threads()}};
}

json kernels_json() {
  const char* forced = std::getenv(kIsaVariable);
  const auto used = resolve_isa(forced == nullptr ? "" : forced);
  std::set<std::string_view> chosen;  // families whose best kernel has been met
  json kernels = json::array();
  for (const KernelInfo& kernel : list_kernels()) {
    const bool first = used.value().covers(kernel.needs) && chosen.insert(kernel.family).second;
    kernels.push_back({{"family", kernel.family},
                       {"name", kernel.name},
                       {"needs", to_string(kernel.needs)},
                       {"used", first}});
  }
  return kernels;
}

json plugin_json(LlamaRuntime& runtime) {
  try {
    const PluginControl plugin(runtime);
    return {{"loads", true},
            {"file", plugin.path()},
            {"device", plugin.device_name()},
            {"description", plugin.device_description()}};
  } catch (const Failure& failure) {
    return {{"loads", false}, {"error", failure.what()}};
  }
}

json capabilities_json(const DeviceCapabilities& c) {
  return {{"max_heads", c.max_heads},
          {"max_rows", c.max_rows},
          {"max_keys", c.max_keys},
          {"max_dim", c.max_dim},
          {"row_multiple", c.row_multiple},
          {"key_multiple", c.key_multiple},
          {"dim_multiple", c.dim_multiple},
          {"max_graphs", c.max_graphs},
          {"max_graph_bytes", c.max_graph_bytes},
          {"max_tensor_bytes", c.max_tensor_bytes},
          {"max_memory_bytes", c.max_memory_bytes},
          {"queue_depth", c.queue_depth},
          {"concurrent", c.concurrent},
          {"timeout_ms", c.timeout.count()}};
}

/// The devices for the pilot, started one after the other and tried.
json pilot_devices_json() {
  json devices = json::array();
  for (const std::string_view name : device_names()) {
    json entry = {{"name", name}};
    const auto device = open_device({.name = std::string(name)});
    entry["available"] = device.ok();
    if (device.ok()) {
      const DeviceCapabilities& c = device.value()->capabilities();
      const Status tested = self_test(*device.value());
      entry["description"] = c.description;
      entry["capabilities"] = capabilities_json(c);
      entry["self_test"] = tested.ok() ? "ok" : tested.message();
    } else {
      entry["reason"] = device.status().message();
    }
    devices.push_back(entry);
  }
  return devices;
}

json llama_json() {
  json devices = json::array();
  for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    devices.push_back({{"name", ggml_backend_dev_name(device)},
                       {"description", ggml_backend_dev_description(device)}});
  }
  return {{"version", llama_version()},
          {"folder", LlamaRuntime::library_folder()},
          {"system", one_line(llama_print_system_info())},
          {"devices", devices}};
}

void print_processor(const json& processor) {
  Table table;
  std::string levels;
  for (const json& level : processor["levels"]) {
    levels += level["name"].get<std::string>() + (level["available"] ? "" : " (not here)") + "  ";
  }
  table.add_row({"processor", processor["features"].get<std::string>()});
  table.add_row({"levels built", levels});
  table.add_row({"level in use", processor["level"].get<std::string>()});
  std::printf("%s\n", table.text().c_str());
}

void print_kernels(const json& kernels) {
  Table table;
  table.add_row({"kernels", "", "needs", ""});
  for (const json& kernel : kernels) {
    table.add_row({"  " + kernel["family"].get<std::string>(), kernel["name"].get<std::string>(),
                   kernel["needs"].get<std::string>(), kernel["used"] ? "in use" : ""});
  }
  std::printf("%s\n", table.text().c_str());
}

/// "16 heads × 512 rows × 4096 keys × 256, in steps of 16, 64, 16; 64 graphs"
std::string shapes_text(const json& c) {
  const auto count = [&](const char* key) { return format_count(c[key].get<int64_t>()); };
  return count("max_heads") + " heads × " + count("max_rows") + " rows × " + count("max_keys") +
         " keys × " + count("max_dim") + ", in steps of " + count("row_multiple") + ", " +
         count("key_multiple") + ", " + count("dim_multiple") + "; " + count("max_graphs") +
         " graphs";
}

void print_pilot_devices(const json& devices) {
  Table table;
  table.add_row({"devices for the pilot", ""});
  for (const json& device : devices) {
    const std::string name = "  " + device["name"].get<std::string>();
    if (!device["available"]) {
      table.add_row({name, "not available: " + device["reason"].get<std::string>()});
      continue;
    }
    table.add_row({name, device["description"].get<std::string>()});
    table.add_row({"", "at most " + shapes_text(device["capabilities"])});
    table.add_row({"", "self-test: " + device["self_test"].get<std::string>()});
  }
  std::printf("%s\n", table.text().c_str());
}

void print_software(const json& plugin, const json& llama) {
  Table table;
  if (plugin["loads"]) {
    const std::string file = plugin["file"].get<std::string>();
    table.add_row({"plug-in", file.empty() ? "loaded through GGML_BACKEND_PATH" : file});
    table.add_row({"its device", plugin["device"].get<std::string>() + ": " +
                                     plugin["description"].get<std::string>()});
  } else {
    table.add_row({"plug-in", "not usable: " + plugin["error"].get<std::string>()});
  }
  table.add_row({"llama.cpp", llama["version"].get<std::string>() + " in " +
                                  llama["folder"].get<std::string>()});
  for (const json& device : llama["devices"]) {
    table.add_row({"  device", device["name"].get<std::string>() + ": " +
                                   device["description"].get<std::string>()});
  }
  table.add_row({"  built with", llama["system"].get<std::string>()});
  std::printf("%s", table.text().c_str());
}

int devices(bool as_json) {
  LlamaRuntime runtime;
  json all;
  all["processor"] = processor_json();
  all["kernels"] = kernels_json();
  all["pilot_devices"] = pilot_devices_json();
  all["plugin"] = plugin_json(runtime);
  all["llama"] = llama_json();
  if (as_json) {
    std::printf("%s\n", json_text(all).c_str());
  } else {
    print_processor(all["processor"]);
    print_kernels(all["kernels"]);
    print_pilot_devices(all["pilot_devices"]);
    print_software(all["plugin"], all["llama"]);
  }
  return all["plugin"]["loads"] ? kExitOk : kExitFailure;
}

}  // namespace

Action add_devices(CLI::App& app) {
  const auto as_json = std::make_shared<bool>(false);
  app.add_flag("--json", *as_json, "print JSON");
  return [as_json] { return devices(*as_json); };
}

}  // namespace shadowattn::tool
