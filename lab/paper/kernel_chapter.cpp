#include "paper/kernel_chapter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "common/statistics.h"
#include "common/text.h"
#include "eval/plots.h"
#include "paper/published.h"
#include "paper/timing_values.h"

namespace shadowattn::tool::paper {
namespace {

constexpr std::array kMethods = {"llama",      "dense",    "dense-f32",  "shadow", "shadow-npu",
                                 "shadow-own", "npu-int8", "sparse-f32", "block"};
constexpr std::array kBaselines = {"sparse-f32", "block", "npu-int8"};
constexpr int64_t kMostPublishedKeys = 4096;
constexpr char kLatencySource[] = "latency of one attention kernel, Xiaomi 14";

/// Parts of one kind of operands, by their keys.
struct Lengths {
  std::vector<const Json*> parts;

  explicit Lengths(const Findings& findings, const std::string& kind) {
    for (const auto& [id, finding] : findings) {
      if (id.starts_with(kind + "-")) parts.push_back(&finding.values);
    }
  }
  std::vector<double> figures(const std::string& setup, const std::string& method,
                              const std::string& key, int64_t most_keys = INT64_MAX) const {
    std::vector<double> all;
    for (const Json* part : parts) {
      if (part->value("keys", int64_t{0}) > most_keys) continue;
      all.push_back(figure(*part, setup, method, key));
    }
    return all;
  }
  bool measured(const std::string& setup) const {
    return std::any_of(parts.begin(), parts.end(),
                       [&](const Json* part) { return find_setup(*part, setup) != nullptr; });
  }
};

double mean(const std::vector<double>& values) {
  std::vector<double> finite;
  std::copy_if(values.begin(), values.end(), std::back_inserter(finite),
               [](double value) { return std::isfinite(value); });
  return finite.empty() ? NAN : statistics(finite).mean;
}

double thread_share(const Json& setup, const std::string& method, const char* key) {
  const Json* found = find_method(setup, method);
  if (found == nullptr) return NAN;
  const auto value = found->find(key);
  const double threads = setup.value("threads", 1.0);
  return value == found->end() ? NAN : value->get<double>() / threads;
}

// Q·Kᵀ's share of exact attention's multiplications.
double logit_share(const Json& values) {
  const Json operands = values.value("operands", Json::object());
  const double dim = operands.value("dim", 0.0);
  const double value_dim = operands.value("value_dim", 0.0);
  return dim > 0 ? dim / (dim + value_dim) : NAN;
}

using Cell = std::string (*)(const Json& values, const std::string& setup,
                             const std::string& method);

std::string time_cell(const Json& values, const std::string& setup, const std::string& method) {
  const double wall = figure(values, setup, method, "median_wall_ns");
  if (!std::isfinite(wall)) return "-";
  return milliseconds_text(wall) + " (" + ratio_text(figure(values, setup, method, "llama_ratio")) +
         ")";
}

std::string core_time_cell(const Json& values, const std::string& setup,
                           const std::string& method) {
  return milliseconds_text(figure(values, setup, method, "median_cpu_ns"));
}

std::string kept_cell(const Json& values, const std::string& setup, const std::string& method) {
  const double kept = figure(values, setup, method, "kept_share");
  return std::isfinite(kept) ? format_percent(kept) : "-";
}

std::string bound_cell(const Json& values, const std::string& setup, const std::string& method) {
  const double bound = method_bound_ns(values, setup, method);
  const double shadow = figure(values, setup, "shadow", "median_wall_ns");
  if (!std::isfinite(bound)) return "-";
  return milliseconds_text(bound) + " (" + ratio_text(bound / shadow) + ")";
}

template <typename Names>
eval::Grid grid_of(const Lengths& lengths, const std::string& setup, const Names& methods,
                   Cell cell) {
  eval::Grid grid;
  grid.header = {"method"};
  for (const Json* part : lengths.parts) {
    grid.header.push_back(format_count(part->value("keys", int64_t{0})) + " keys");
  }
  for (const char* method : methods) {
    std::vector<std::string> row = {method_label(method)};
    for (const Json* part : lengths.parts) row.push_back(cell(*part, setup, method));
    const bool empty = std::all_of(row.begin() + 1, row.end(),
                                   [](const std::string& text) { return text == "-"; });
    if (!empty) grid.rows.push_back(std::move(row));
  }
  return grid;
}

std::string speed_picture(const Lengths& lengths, const std::string& setup) {
  std::vector<eval::PlotLine> lines;
  for (const char* method : kMethods) {
    eval::PlotLine line{method_label(method), {}, {}};
    for (const Json* part : lengths.parts) {
      line.x.push_back(part->value("keys", 0.0));
      line.y.push_back(figure(*part, setup, method, "llama_ratio"));
    }
    const bool some =
        std::any_of(line.y.begin(), line.y.end(), [](double y) { return std::isfinite(y); });
    if (some) lines.push_back(std::move(line));
  }
  if (lines.empty() || lengths.parts.size() < 2) return "";
  return eval::line_plot("keys", "times as fast as llama.cpp's attention", lines);
}

std::string late_note(const Lengths& lengths, const std::string& setup) {
  for (const Json* part : lengths.parts) {
    const Json* found = find_setup(*part, setup);
    if (found != nullptr) found = find_method(*found, "shadow-npu");
    if (found == nullptr || !found->contains("device")) continue;
    const std::string note = found->at("device").value("note", "");
    if (!note.empty()) return " npu-sim did not do all of its part: " + note + ".";
  }
  return "";
}

void add_tables(const Lengths& lengths, const std::string& kind, Chapter& chapter) {
  for (const char* setup : {kOneCore, kTwoCores}) {
    if (!lengths.measured(setup)) continue;
    const Json* any = nullptr;
    for (const Json* part : lengths.parts) any = any != nullptr ? any : find_setup(*part, setup);
    const std::string where = kind + ", " + any->value("label", "");
    eval::Section times;
    times.heading = "Milliseconds, " + where;
    times.note = "In brackets: times as fast as llama.cpp's attention. " +
                 operands_text(lengths.parts.front()->value("operands", Json::object())) +
                 ", all recorded layers together." + late_note(lengths, setup);
    times.picture = speed_picture(lengths, setup);
    times.grid = grid_of(lengths, setup, kMethods, time_cell);
    chapter.sections.push_back(std::move(times));
    eval::Section cores;
    cores.heading = "Core-milliseconds, " + where;
    cores.note = "Processor time of the process, without that spent playing npu-sim.";
    cores.grid = grid_of(lengths, setup, kMethods, core_time_cell);
    chapter.sections.push_back(std::move(cores));
  }
  const std::string setup = kOneCore;
  if (!lengths.measured(setup)) return;
  eval::Section kept;
  kept.heading = "Tokens kept, " + kind;
  kept.note =
      "Share of the (row, token) pairs that the mask lets through. Calls that the engine "
      "made dense keep all.";
  kept.grid = grid_of(lengths, setup, kMethods, kept_cell);
  chapter.sections.push_back(std::move(kept));
}

void add_bounds(const Lengths& lengths, Chapter& chapter) {
  if (!lengths.measured(kOneCore)) return;
  eval::Section section;
  section.heading = "What the baselines could take at best";
  section.note =
      "The baselines above are written to be right, not to be fast, so their times are no measure "
      "of such methods. These bounds are: milliseconds on one core that each method takes at least "
      "with the kernels of this build, and in brackets how many times as long that is as shadow "
      "attention with the CPU's estimate. C/G-Sparse: Q·Kᵀ in f32 (its share of the dense f32 "
      "kernel's time), then shadow's selection and attention. C/G-Block-Sparse: shadow's attention "
      "alone, as if its lists cost nothing. NPU-Full, were the CPU its NPU: two INT8 products, "
      "each as long as the CPU's estimate, and a softmax for nothing.";
  section.grid = grid_of(lengths, kOneCore, kBaselines, bound_cell);
  if (!section.grid.empty()) chapter.sections.push_back(std::move(section));
}

std::string signed_percent(double share) {
  return std::isfinite(share) ? format_fixed(100 * share, 1) + " %" : "-";
}

void add_float_sparse(const Json& values, Chapter& chapter) {
  const std::vector<FloatSparseBound> bounds = float_sparse_bounds(values);
  if (bounds.empty()) return;
  eval::Section section;
  section.heading = "What a float estimate costs";
  section.note = "Dense attention in f32 on one core takes " +
                 milliseconds_text(figure(values, kOneCore, "dense", "median_wall_ns")) +
                 " ms at " + format_count(values.value("keys", int64_t{0})) +
                 " keys. Estimating every token in f32 is Q·Kᵀ's half of it; then come selection "
                 "and attention to the tokens kept, as measured of shadow attention with f32 "
                 "operands. A saving below zero is a loss.";
  section.grid.header = {"kept", "time saved, published", "here, a list per row and head",
                         "here, shared lists", "estimate's share here"};
  for (size_t i = 0; i < std::min(bounds.size(), published::kFloatSparse.size()); ++i) {
    section.grid.rows.push_back(
        {format_percent(bounds[i].keep), signed_percent(published::kFloatSparse[i].speedup),
         signed_percent(bounds[i].saved), signed_percent(bounds[i].saved_shared),
         signed_percent(bounds[i].estimate_share)});
  }
  chapter.sections.push_back(std::move(section));
}

std::string most_and_mean(const std::vector<double>& ratios) {
  double most = NAN;
  for (const double ratio : ratios) most = std::fmax(most, ratio);
  return std::isfinite(most) ? "up to " + ratio_text(most) + ", mean " + ratio_text(mean(ratios))
                             : "not measured";
}

// Why the figure differs from the paper's, as far as the measurements themselves say so.
std::string speed_remark(const Lengths& lengths, double here) {
  if (!std::isfinite(here)) return "needs a second core for npu-sim";
  if (here >= published::kKernelSpeedupMean) return "";
  const double cpu = mean(lengths.figures(kOneCore, "shadow", "llama_ratio", kMostPublishedKeys));
  const double dense = mean(lengths.figures(kOneCore, "dense", "llama_ratio", kMostPublishedKeys));
  std::string remark = "another machine, and its NPU is a thread on a core";
  if (cpu > here) {
    remark += "; estimating on the CPU itself is faster here (mean " + ratio_text(cpu) + ")";
  }
  return remark + "; our own dense attention is " + ratio_text(dense) +
         " times as fast as llama.cpp's";
}

std::string own_dense_remark(const Lengths& lengths, double here) {
  if (!std::isfinite(here)) return "needs a second core for npu-sim";
  if (here >= published::kKernelSpeedupMean) return "";
  const double dense = mean(lengths.figures(kOneCore, "dense", "llama_ratio", kMostPublishedKeys));
  if (!(dense > 1)) return "unexplained";
  return "this baseline is " + ratio_text(dense) + " times as fast as llama.cpp's attention";
}

void add_speed_claims(const Lengths& random, Chapter& chapter) {
  const auto ratios = [&](const char* method, const char* key) {
    return random.figures(kOneCore, method, key, kMostPublishedKeys);
  };
  const std::string published = "up to " + ratio_text(published::kKernelSpeedupMost) + ", mean " +
                                ratio_text(published::kKernelSpeedupMean) + " (four models)";
  const std::vector<double> npu = ratios("shadow-npu", "llama_ratio");
  chapter.claims.push_back(
      {"One attention call, 1K to 4K keys, 20 % kept, one core and the NPU "
       "(here npu-sim): times as fast as C/G-Full (llama.cpp)",
       published, kLatencySource, most_and_mean(npu), speed_remark(random, mean(npu))});
  const std::vector<double> own = ratios("shadow-npu", "dense_ratio");
  chapter.claims.push_back({"… and as our own dense attention", published, kLatencySource,
                            most_and_mean(own), own_dense_remark(random, mean(own))});
}

void add_lossy_claim(const Lengths& random, Chapter& chapter) {
  std::vector<double> over;
  for (const Json* part : random.parts) {
    if (part->value("keys", int64_t{0}) > kMostPublishedKeys) continue;
    const double shadow = figure(*part, kOneCore, "shadow", "median_wall_ns");
    for (const char* method : kBaselines) {
      over.push_back(method_bound_ns(*part, kOneCore, method) / shadow);
    }
  }
  double most = NAN;
  for (const double ratio : over) most = std::fmax(most, ratio);
  if (!std::isfinite(most)) return;
  chapter.claims.push_back(
      {"… and as the lossy baselines (here: shadow on the CPU over what they could take at best)",
       "up to " + ratio_text(published::kKernelSpeedupOverLossy), kLatencySource,
       "up to " + ratio_text(most),
       most >= published::kKernelSpeedupOverLossy
           ? ""
           : "bounds by our own kernels, not the times of other people's code"});
}

void add_float_sparse_claims(const Json& values, Chapter& chapter) {
  const std::vector<FloatSparseBound> bounds = float_sparse_bounds(values);
  std::string here;
  std::string there;
  bool less = false;
  for (size_t i = 0; i < std::min(bounds.size(), published::kFloatSparse.size()); ++i) {
    const std::string separator = here.empty() ? "" : " / ";
    here += separator + signed_percent(bounds[i].saved);
    there += separator + signed_percent(published::kFloatSparse[i].speedup);
    less = less || bounds[i].saved < published::kFloatSparse[i].speedup;
  }
  if (here.empty()) return;
  chapter.claims.push_back(
      {"Time that a float estimate saves at 40 / 30 / 20 %, one core", there, "Section 2", here,
       less ? "a list per row gathers what a dense kernel streams; with shared lists " +
                  signed_percent(bounds.back().saved_shared) + " are saved at 20 %"
            : ""});
  const double share = bounds.back().estimate_share;
  chapter.claims.push_back({"Float estimate's share of the time at 20 %",
                            signed_percent(published::kFloatEstimateShare), "Section 2",
                            signed_percent(share),
                            share >= published::kFloatEstimateShare
                                ? ""
                                : "attending to the lists takes a larger part here"});
}

}  // namespace

std::vector<FloatSparseBound> float_sparse_bounds(const Json& values) {
  std::vector<FloatSparseBound> bounds;
  const Json* setup = find_setup(values, kOneCore);
  const double dense = figure(values, kOneCore, "dense", "median_wall_ns");
  if (setup == nullptr || !(dense > 0)) return bounds;
  const double estimate = dense * logit_share(values);
  for (const published::FloatSparse& row : published::kFloatSparse) {
    const auto total = [&](const std::string& lists) {
      const std::string method = lists + "-" + format_fixed(row.keep, 1);
      return estimate + thread_share(*setup, method, "select_ns") +
             thread_share(*setup, method, "attend_ns");
    };
    const double own = total("own");
    bounds.push_back(
        {row.keep, estimate, 1 - own / dense, 1 - total("shared") / dense, estimate / own});
  }
  return bounds;
}

double method_bound_ns(const Json& values, const std::string& setup, const std::string& method) {
  const Json* found = find_setup(values, setup);
  if (found == nullptr) return NAN;
  const double attend = thread_share(*found, "shadow", "attend_ns");
  if (method == "block") return attend;
  if (method == "npu-int8") return 2 * thread_share(*found, "shadow", "pilot_ns");
  if (method != "sparse-f32") return NAN;
  const double dense = figure(values, setup, "dense-f32", "median_wall_ns");
  return dense * logit_share(values) + thread_share(*found, "shadow", "select_ns") + attend;
}

Chapter kernel_chapter(const Findings& findings) {
  Chapter chapter;
  const Lengths random(findings, "random");
  const Lengths recorded(findings, "recorded");
  if (!random.parts.empty()) {
    add_speed_claims(random, chapter);
    add_lossy_claim(random, chapter);
    const std::string cores = random.parts.front()->value("cores_note", "");
    if (!cores.empty()) chapter.sections.push_back({"Cores", cores});
    add_tables(random, "random operands", chapter);
    add_bounds(random, chapter);
  }
  if (!recorded.parts.empty()) add_tables(recorded, "recorded operands", chapter);
  if (const Json* values = find_part(findings, "float-sparse")) {
    add_float_sparse_claims(*values, chapter);
    add_float_sparse(*values, chapter);
  }
  return chapter;
}

}  // namespace shadowattn::tool::paper
