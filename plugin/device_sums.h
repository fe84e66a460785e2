// What a device did for the attention calls of a layer, summed.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "shadowattn/engine.h"

namespace shadowattn::plugin {

class DeviceSums {
 public:
  void add(const DeviceReport& call);
  void add(const DeviceSums& other);

  /// A device was to estimate something.
  bool used() const { return used_; }
  /// Why it did not, and in how many calls.
  const std::map<std::string, int64_t>& notes() const { return notes_; }

  /// The counters under the names of DeviceReport, times in ms, and shares of them: docs/plugin.md.
  nlohmann::ordered_json to_json() const;

 private:
  void add_counters(const DeviceReport& more);

  bool used_ = false;
  DeviceReport sum_;  ///< without its note
  std::map<std::string, int64_t> notes_;
};

}  // namespace shadowattn::plugin
