#include "paper/energy_chapter.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/text.h"
#include "eval/plots.h"
#include "paper/published.h"
#include "paper/timing_values.h"

namespace shadowattn::tool::paper {
namespace {

constexpr std::array kCallMethods = {"llama", "sparse-f32", "block",     "npu-int8",
                                     "dense", "shadow",     "shadow-npu"};

struct Named {
  const char* id;
  const char* label;
};
constexpr std::array kPromptMethods = {
    Named{"llama", "llama.cpp"},
    Named{"dense", "dense, ours"},
    Named{"shadow", "shadow, default dial"},
    Named{"shadow-0.2", "shadow, 20 % kept"},
};

std::string number(double value, int decimals) {
  return std::isfinite(value) ? format_fixed(value, decimals) : "-";
}

// A device that is played draws what a core does.
double joules(const Json& values, const std::string& method) {
  return method == "shadow-npu" ? NAN : figure(values, kOneCore, method, "median_joules");
}

bool counted(const Json& values) {
  return values.value("counter", Json::object()).value("available", false);
}

std::string why_not_counted(const Json& values) {
  return values.value("counter", Json::object()).value("missing", "");
}

eval::Section counter_section(const Json& values) {
  eval::Section section;
  section.heading = "The counter";
  if (!counted(values)) {
    section.note = "Energy is not available: " + why_not_counted(values) +
                   ". It is not estimated; processor time follows.";
    return section;
  }
  std::string packages;
  const Json names = values.at("counter").value("packages", Json::array());
  for (const Json& name : names) {
    packages += (packages.empty() ? "" : ", ") + name.get<std::string>();
  }
  section.note = "Counted: " + packages + " (RAPL).";
  return section;
}

std::vector<const Json*> calls(const Findings& findings) {
  std::vector<const Json*> parts;
  for (const auto& [id, finding] : findings) {
    if (id.starts_with("call-")) parts.push_back(&finding.values);
  }
  return parts;
}

void add_calls(const std::vector<const Json*>& parts, Chapter& chapter) {
  eval::Section section;
  section.heading = "One attention call, one CPU core";
  section.note =
      "Core-milliseconds and joules per call. The baselines C/G-Sparse, C/G-Block-Sparse and "
      "NPU-Full are written to be right, not to be fast, and run on the CPU alone: see the bounds "
      "in the chapter about one attention call.";
  section.grid.header = {"method"};
  for (const Json* part : parts) {
    const std::string length = format_count(part->value("length", int64_t{0}));
    section.grid.header.push_back(length + " tokens: core-ms");
    section.grid.header.push_back(length + " tokens: J");
  }
  std::vector<eval::Bar> bars;
  for (const char* method : kCallMethods) {
    const double first = figure(*parts.front(), kOneCore, method, "median_cpu_ns");
    if (!std::isfinite(first)) continue;
    bars.push_back({method_label(method), first, milliseconds_text(first) + " core-ms"});
    section.grid.rows.push_back({method_label(method)});
    for (const Json* part : parts) {
      section.grid.rows.back().push_back(
          milliseconds_text(figure(*part, kOneCore, method, "median_cpu_ns")));
      section.grid.rows.back().push_back(number(joules(*part, method), 3));
    }
  }
  section.picture = eval::bars(bars);
  chapter.sections.push_back(std::move(section));
}

eval::Section published_section() {
  eval::Section section;
  section.heading = "Published: joules of one attention kernel, length 1024";
  section.note = "Table 8, Redmi K60 Champion (Snapdragon 8 Gen 2), battery voltage times current.";
  section.grid.header = {"model",    "C/G-Full",   "C/G-Sparse",       "C/G-Block-Sparse",
                         "NPU-Full", "shadowAttn", "Full / shadowAttn"};
  for (const published::Energy& row : published::kEnergy) {
    section.grid.rows.push_back({std::string(row.model), number(row.full, 2), number(row.sparse, 2),
                                 number(row.block, 2), number(row.npu, 2), number(row.shadow, 2),
                                 ratio_text(row.full / row.shadow)});
  }
  return section;
}

void add_prompt(const Json& values, Chapter& chapter) {
  eval::Section section;
  section.heading =
      "A prompt of " + format_count(values.value("length", int64_t{0})) + " tokens, one CPU core";
  section.note = "Of the text, read with the model at hand.";
  section.grid.header = {"attention", "core-seconds", "seconds", "J"};
  for (const Named& method : kPromptMethods) {
    const auto value = [&](const char* key) { return figure(values, kOneCore, method.id, key); };
    if (!std::isfinite(value("median_cpu_s"))) continue;
    section.grid.rows.push_back({method.label, number(value("median_cpu_s"), 3),
                                 number(value("median_wall_s"), 3),
                                 number(value("median_joules"), 3)});
  }
  chapter.sections.push_back(std::move(section));
}

void add_claims(const Json& call, Chapter& chapter) {
  double most = 0;
  double least = INFINITY;
  for (const published::Energy& row : published::kEnergy) {
    most = std::max(most, row.full / row.shadow);
    least = std::min(least, row.full / row.shadow);
  }
  const double energy = joules(call, "llama") / joules(call, "shadow");
  const std::string length = format_count(call.value("length", int64_t{0}));
  const std::string published = ratio_text(least) + " to " + ratio_text(most) + " (four models)";
  chapter.claims.push_back(
      {"Energy of one attention call of " + length +
           " tokens, C/G-Full over ours (here: llama.cpp over shadow on one CPU core)",
       published, "Table 8", std::isfinite(energy) ? ratio_text(energy) : "not available",
       !std::isfinite(energy) ? why_not_counted(call)
       : energy >= least      ? ""
                              : "the CPU estimates too here; whole packages are counted"});
  const double full = figure(call, kOneCore, "llama", "median_cpu_ns");
  const double device = full / figure(call, kOneCore, "shadow-npu", "median_cpu_ns");
  chapter.claims.push_back(
      {"Processor time of the same call, llama.cpp over shadow with npu-sim", "not published", "",
       ratio_text(device),
       "time is not energy; what plays npu-sim is left out; estimated on the CPU: " +
           ratio_text(full / figure(call, kOneCore, "shadow", "median_cpu_ns"))});
}

}  // namespace

Chapter energy_chapter(const Findings& findings) {
  Chapter chapter;
  if (findings.empty()) return chapter;
  chapter.sections.push_back(counter_section(findings.front().second.values));
  const std::vector<const Json*> parts = calls(findings);
  if (!parts.empty()) {
    add_claims(*parts.front(), chapter);
    add_calls(parts, chapter);
  }
  chapter.sections.push_back(published_section());
  if (const Json* values = find_part(findings, "prompt")) add_prompt(*values, chapter);
  return chapter;
}

}  // namespace shadowattn::tool::paper
