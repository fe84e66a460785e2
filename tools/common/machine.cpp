#include "common/machine.h"

#include <ggml-backend.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <ctime>

#include "common/attention_options.h"
#include "common/text.h"
#include "shadowattn/cpu.h"

namespace shadowattn::tool {
namespace {

std::string processor_name() {
  ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  return cpu == nullptr ? "unknown processor" : ggml_backend_dev_description(cpu);
}

int64_t memory_bytes() { return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE); }

std::string level_in_use() {
  const char* forced = std::getenv("SHADOWATTN_ISA");
  const auto used = resolve_isa(forced == nullptr ? "" : forced);
  std::string active = "unknown level";
  if (!used.ok()) return active;
  for (const IsaLevel& level : isa_levels()) {
    if (used.value().covers(level.features)) active = level.name;
  }
  return active;
}

}  // namespace

std::string describe_machine() {
  const int cores = default_threads();
  return processor_name() + ", " + std::to_string(cores) + (cores == 1 ? " core, " : " cores, ") +
         format_bytes(memory_bytes()) + ", " + level_in_use();
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

}  // namespace shadowattn::tool
