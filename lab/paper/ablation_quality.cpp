// What each part of the method is worth in quality (the paper's ablation; what they are worth in
// time is another experiment).

#include <algorithm>
#include <array>
#include <cmath>

#include "common/failure.h"
#include "common/text.h"
#include "device/scale_grid.h"
#include "eval/plots.h"
#include "eval/report_parts.h"
#include "paper/experiments.h"
#include "paper/importance.h"
#include "paper/kld_part.h"
#include "paper/published.h"
#include "paper/recorded_windows.h"

namespace shadowattn::tool::paper {
namespace {

// Parts.
constexpr char kMethodPart[] = "method";
constexpr char kOthersPart[] = "others";
constexpr char kDialPart[] = "dial";

// Ways to attend.
constexpr char kFull[] = "all of it";
constexpr char kOneShare[] = "one share for all heads";
constexpr char kOnePair[] = "without buckets";
constexpr char kInt8[] = "all attention in INT8";
constexpr char kFloat[] = "float estimate, one share";
constexpr char kDefaults[] = "default lists, 20 %";

constexpr std::array<double, 3> kDials = {0.02, 0.05, 0.1};
constexpr int64_t kLeastTokens = 64;     // to calibrate and to measure losses on
constexpr int64_t kScaleContext = 1024;  // that scales are calibrated at

std::string dial_name(double attn_error) { return "attn_error " + format_fixed(attn_error, 2); }

/// The workbench with the half of the text that is not evaluated.
Workbench other_half(const Workbench& workbench) {
  Workbench other = workbench;
  const std::span<const llama_token> tokens = text_halves(workbench).other;
  other.texts = {{"", "", {tokens.begin(), tokens.end()}}};
  return other;
}

/// What is measured on the other half before anything is compared.
struct Preparation {
  HeadShape shape;
  measure::ScalePair mean;
  Importance importance;
};

Preparation prepare(const Workbench& workbench) {
  const Workbench other = other_half(workbench);
  const auto available = static_cast<int64_t>(other.texts.front().tokens.size());
  if (available < kLeastTokens) {
    throw Failure("the text to measure shares and scales on has only " + format_count(available) +
                  " tokens; give longer texts");
  }
  const RecordedWindows windows(other, std::min(kScaleContext, available), /*calibrate=*/false);
  Preparation made;
  measure::Calibration calibration;
  windows.for_each_call("calibrating", [&](const AttentionCall& call) {
    made.shape = {static_cast<int32_t>(call.query.dim), call.query.heads, call.key.heads};
    measure::calibrate(call, /*center_keys=*/false, windows.executor(), &calibration);
  });
  made.mean = calibration.mean();
  made.importance = measure_importance(workbench, made.shape);
  return made;
}

std::vector<float> grid_of(double mean, int count) {
  const auto grid = spread_grid(mean, published::kStep, count);
  if (!grid.ok()) throw Failure("the calibrated scales: " + grid.status().message());
  return grid.value().scales;
}

/// As published, on npu-sim: static scales around the mean by the nearest rule, INT8 scores.
Config published_device(Config config, measure::ScalePair mean, int scales_per_axis) {
  DeviceOptions& device = config.engine.device;
  device.name = "npu-sim";
  device.scale_rule = ScaleRule::kNearest;
  device.row_scales = false;
  device.center_keys = false;
  device.query_scales = grid_of(mean.query, scales_per_axis);
  device.key_scales = grid_of(mean.key, scales_per_axis);
  return config;
}

double largest_share(const Profile& profile) {
  double largest = 0;
  for (const LayerProfile& layer : profile.layers) {
    for (const HeadProfile& head : layer.heads) largest = std::max(largest, head.keep);
  }
  return largest;
}

Json shares_json(const Profile& profile, const Importance& importance) {
  Json heads = Json::array();
  for (size_t layer = 0; layer < profile.layers.size(); ++layer) {
    for (size_t head = 0; head < profile.layers[layer].heads.size(); ++head) {
      heads.push_back({{"layer", layer},
                       {"head", head},
                       {"loss_rise", importance.heads[layer][head]},
                       {"layer_loss_rise", importance.layers[layer]},
                       {"share", profile.layers[layer].heads[head].keep}});
    }
  }
  return heads;
}

Json measure_method(const Workbench& workbench) {
  const Preparation made = prepare(workbench);
  const Profile profile = share_profile(made.importance, made.shape, published::kKeep);
  const ProfileFile file(profile);
  const Config one_share = row_lists(workbench, published::kKeep);
  // The profile limits every head; this is only the limit of all.
  Config by_head = row_lists(workbench, largest_share(profile));
  by_head.profile_path = file.path();
  constexpr int kThree = 3;  // per axis: nine pairs
  Json values = measure_kld(workbench, {{kFull, published_device(by_head, made.mean, kThree)},
                                        {kOneShare, published_device(one_share, made.mean, kThree)},
                                        {kOnePair, published_device(by_head, made.mean, 1)}});
  for (Json& method : values["methods"]) method.erase("config");  // names a file that is gone
  values["one_text"] = text_halves(workbench).one_text;
  values["loss_tokens"] = made.importance.tokens;
  values["mean_scales"] = {{"query", made.mean.query}, {"key", made.mean.key}};
  values["heads"] = shares_json(profile, made.importance);
  return values;
}

Json measure_others(const Workbench& workbench) {
  Config int8 = row_lists(workbench, 1.0);
  int8.engine.mode = Mode::kNpuInt8;
  Config floats = row_lists(workbench, published::kKeep);
  floats.engine.mode = Mode::kSparseF32;
  Config defaults = workbench.quality_config();
  defaults.min_rows = 1;
  defaults.engine.attn_error = 0;
  defaults.engine.output_error = 0;
  defaults.engine.keep = published::kKeep;
  defaults.engine.keep_floor = 1;
  return measure_kld(workbench, {{kInt8, int8}, {kFloat, floats}, {kDefaults, defaults}});
}

Json measure_dial(const Workbench& workbench) {
  std::vector<eval::Method> methods;
  for (const double attn_error : kDials) {
    Config config = workbench.quality_config();
    config.min_rows = 1;
    config.engine.attn_error = attn_error;
    config.engine.output_error = 0;
    methods.push_back({dial_name(attn_error), config});
  }
  return measure_kld(workbench, methods);
}

std::vector<Part> parts(const Workbench& workbench) {
  if (kld_context(workbench) == 0) return {};
  const bool quick = workbench.quick;
  return {{kMethodPart, "the method, without shares per head, without buckets", quick ? 6.0 : 20.0,
           measure_method},
          {kOthersPart, "INT8 attention, float estimate", quick ? 2.0 : 10.0, measure_others},
          {kDialPart, "lists by mass", quick ? 2.0 : 10.0, measure_dial}};
}

const Json* find_way(const Findings& findings, const std::string& name) {
  for (const auto& [part, finding] : findings) {
    if (const Json* found = find_method(&finding.values, name)) return found;
  }
  return nullptr;
}

double kld_of(const Json& method) { return method.at("mean_kld"); }

// Whether two mean KLDs differ by more than their errors; those of the same tokens are not
// independent, so this is careful.
bool is_larger(const Json& a, const Json& b) {
  const double error =
      std::hypot(a.at("mean_kld_error").get<double>(), b.at("mean_kld_error").get<double>());
  return kld_of(a) - kld_of(b) > error;
}

// Why all of the method may be worse than without a part of it, as far as the figures tell.
std::string reason_of(const Findings& findings, const std::string& name, const Json& without) {
  const Json* method = find_part(findings, kMethodPart);
  const Json* one_share = find_way(findings, kOneShare);
  if (method == nullptr || one_share == nullptr) return "unexplained";
  const Json& heads = method->at("heads");
  const auto starved = std::count_if(heads.begin(), heads.end(), [](const Json& head) {
    return head.at("share").get<double>() <= kLeastShare;
  });
  if (name == kOneShare && starved > 0) {
    return "by importance " + std::to_string(starved) + " of " + std::to_string(heads.size()) +
           " heads get the least share, " + format_percent(kLeastShare);
  }
  if (name != kOneShare && is_larger(without, *one_share)) {
    return "shares by importance cost more; with one share for all heads it is " +
           kld_text(*one_share);
  }
  return "unexplained";
}

void add_claim(const Findings& findings, const char* name, const std::string& what,
               const std::string& published, std::vector<Claim>* claims) {
  const Json* full = find_way(findings, kFull);
  const Json* without = find_way(findings, name);
  if (full == nullptr || without == nullptr) return;
  Claim claim;
  claim.what = what;
  claim.published = published;
  claim.source = "ablation (Qwen2-0.5B, Octopus)";
  claim.measured = "mean KLD " + kld_text(*full) + " to " + kld_text(*without);
  if (is_larger(*full, *without)) {
    claim.remark = "the other way round here: " + reason_of(findings, name, *without);
  } else if (!is_larger(*without, *full)) {
    claim.remark = "no difference beyond the error here; unexplained";
  }
  claims->push_back(std::move(claim));
}

std::vector<Claim> claims(const Findings& findings) {
  std::vector<Claim> all;
  add_claim(findings, kOnePair, "Without buckets (one pair of scales)",
            format_fixed(published::kWithoutBuckets, 1) + " points of accuracy", &all);
  add_claim(findings, kOneShare, "One share for all heads",
            "accuracy " + format_fixed(published::kSharePerHead, 1) + " to " +
                format_fixed(published::kOneShare, 1),
            &all);
  add_claim(findings, kInt8, "All attention in INT8",
            "accuracy " + format_fixed(published::kSharePerHead, 1) + " to " +
                format_fixed(published::kAllOnNpu, 1),
            &all);
  return all;
}

std::string note_of(const Findings& findings) {
  const std::string note = kld_note(findings.front().second.values) +
                           " The first three: INT8 estimate on npu-sim with the published scales, "
                           "lists per row, no token "
                           "forced in, on average 20 % of the tokens.";
  const Json* method = find_part(findings, kMethodPart);
  if (method == nullptr) return note;
  return note + " Shares and scales were measured on " +
         (method->at("one_text").get<bool>() ? "another half of the text" : "another text") +
         " than is evaluated, shares by the loss of " +
         format_count(method->at("loss_tokens").get<int64_t>()) +
         " tokens without each head and layer; one share per KV head, for they share lists.";
}

std::vector<eval::Section> method_sections(const Findings& findings) {
  eval::Section table;
  table.heading = "Quality without parts of the method";
  table.note = note_of(findings);
  table.grid.header = {"attention", "kept", "mean KLD, nats", "99 % KLD", "same top token", "PPL"};
  eval::Section picture;
  picture.heading = "Mean KLD, nats";
  picture.page_only = true;
  std::vector<eval::Bar> bars;
  std::vector<std::string> names = {kFull, kOnePair, kOneShare, kFloat, kInt8, kDefaults};
  for (const double attn_error : kDials) names.push_back(dial_name(attn_error));
  for (const std::string& name : names) {
    const Json* method = find_way(findings, name);
    if (method == nullptr) continue;
    table.grid.rows.push_back({name, eval::fine_percent(method->at("kept")), kld_text(*method),
                               eval::small_number(method->at("p99_kld")),
                               eval::fine_percent(method->at("same_top")),
                               format_fixed(method->at("ppl").get<double>(), 3)});
    bars.push_back({name, kld_of(*method), eval::small_number(kld_of(*method))});
  }
  picture.picture = eval::bars(bars);
  return {table, picture};
}

eval::Section shares_section(const Json& method) {
  eval::Section section;
  section.heading = "Shares by importance";
  section.note =
      "Rise of the loss without a head, without its layer, in nats per token, and the "
      "share of the tokens that follows for its KV head.";
  section.grid.header = {"layer", "head", "without the head", "without the layer", "share"};
  for (const Json& head : method.at("heads")) {
    section.grid.rows.push_back(
        {std::to_string(head.at("layer").get<int>()), std::to_string(head.at("head").get<int>()),
         eval::small_number(head.at("loss_rise")), eval::small_number(head.at("layer_loss_rise")),
         format_percent(head.at("share"))});
  }
  return section;
}

Chapter write(const Findings& findings) {
  if (findings.empty()) return {};
  Chapter chapter = {claims(findings), method_sections(findings)};
  if (const Json* method = find_part(findings, kMethodPart)) {
    chapter.sections.push_back(shares_section(*method));
  }
  return chapter;
}

}  // namespace

Experiment ablation_quality_experiment() {
  return {
      "ablation-quality",
      "What each part is worth: quality",
      "ablation",
      "The paper gives task accuracy of one model. Here it is the KL divergence from exact "
      "attention on text, which sees more than accuracy does. Beside it: lists that end by mass "
      "(attn_error), which is how shadowattn chooses shares by default.",
      parts,
      write};
}

}  // namespace shadowattn::tool::paper
