#include "profile/profile_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>

#include "common/failure.h"
#include "common/files.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/text.h"
#include "profile/budget.h"
#include "profile/layer_meter.h"
#include "profile/loss.h"

namespace shadowattn::tool {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kRows = 512;   // of the call that is measured
constexpr double kFloor = 0.02;  // no head's share is below, or below the budget
constexpr double kSaveSeconds = 0.2;

/// Tells results of one model, text and set of options from those of another.
std::string key_of(const ProfiledModel& model, const std::vector<llama_token>& tokens,
                   const ProfileSettings& settings) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const llama_token token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x100000001b3;
  }
  return model.checksum + " " + std::to_string(tokens.size()) + " tokens " + std::to_string(hash) +
         " attn_error " + std::to_string(settings.attn_error) + " loss " +
         std::to_string(settings.loss_tokens);
}

/// The partial results and when they were saved.
class Notebook {
 public:
  Notebook(std::string path, PartialProfile start)
      : path_(std::move(path)), partial_(std::move(start)) {}

  const PartialProfile& partial() const { return partial_; }

  void add_layer(int layer, LayerProfile profile) {
    partial_.profile.layers[static_cast<size_t>(layer)] = std::move(profile);
    partial_.layers.insert(layer);
    save();
  }
  void add_loss(const std::string& removed, double loss) {
    partial_.losses[removed] = loss;
    dirty_ = true;
    if (Clock::now() - saved_ > std::chrono::duration<double>(kSaveSeconds)) save();
  }
  void save() {
    write_file_atomically(path_, partial_json(partial_));
    saved_ = Clock::now();
    dirty_ = false;
  }
  void save_rest() {
    if (dirty_) save();
  }

 private:
  std::string path_;
  PartialProfile partial_;
  Clock::time_point saved_;
  bool dirty_ = false;
};

Notebook open_notebook(const ProfileSettings& settings, const ProfiledModel& model,
                       const std::string& key, size_t layers) {
  if (auto found = load_partial(settings.part, key, layers)) {
    std::fprintf(stderr, "shadowattn: going on with %s: %s layers and %s losses are measured\n",
                 settings.part.c_str(),
                 format_count(static_cast<int64_t>(found->layers.size())).c_str(),
                 format_count(static_cast<int64_t>(found->losses.size())).c_str());
    return {settings.part, std::move(*found)};
  }
  PartialProfile fresh;
  fresh.key = key;
  fresh.profile.model = model;
  fresh.profile.attn_error = settings.attn_error;
  fresh.profile.layers.resize(layers);
  return {settings.part, std::move(fresh)};
}

/// Exact attention, fast, for the tokens that only have to be read.
Config reading_config() {
  Config config;
  config.engine.mode = Mode::kDense;
  return config;
}

void measure_lists(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
                   std::span<const llama_token> tokens, const ProfileSettings& settings,
                   Notebook& notebook) {
  std::set<int> missing;
  const auto layers = static_cast<int>(notebook.partial().profile.layers.size());
  for (int layer = 0; layer < layers; ++layer) {
    if (!notebook.partial().layers.contains(layer)) missing.insert(layer);
  }
  if (missing.empty()) return;
  const auto rows = std::min<size_t>(kRows, tokens.size());
  auto reading =
      std::make_unique<Progress>("reading", static_cast<int64_t>(tokens.size()), "tokens");
  std::unique_ptr<Progress> measuring;
  int64_t done = 0;
  LayerMeter meter(missing, {.attn_error = settings.attn_error},
                   [&](int layer, LayerProfile profile) {
                     notebook.add_layer(layer, std::move(profile));
                     measuring->update(++done);
                   });
  plugin.configure(reading_config());
  ContextOptions options;
  options.tokens = static_cast<int64_t>(tokens.size());
  options.ubatch = static_cast<int>(rows);
  options.threads = settings.threads;
  options.on_node = LayerMeter::on_node;
  options.on_node_data = &meter;
  LlamaContext context(runtime, model, options);
  // The last rows are one ubatch, and that one is measured.
  bool whole = context.append(tokens.first(tokens.size() - rows),
                              [&](int64_t count) { reading->update(count); });
  reading.reset();
  measuring =
      std::make_unique<Progress>("measuring", static_cast<int64_t>(missing.size()), "layers");
  measuring->update(0);
  meter.arm();
  whole = whole && context.append(tokens.last(rows));
  measuring.reset();
  meter.check();
  if (!whole) throw Failure("interrupted", interrupted_status());
  if (notebook.partial().layers.empty()) {
    throw Failure("no layer of this model has attention that can be measured" +
                  (meter.refusal().empty() ? "" : ": " + meter.refusal()));
  }
}

/// Everything whose removal is measured: nothing, whole layers, single heads.
std::vector<Ablation> ablations(const Profile& profile) {
  std::vector<Ablation> all = {{}};
  for (size_t layer = 0; layer < profile.layers.size(); ++layer) {
    if (!profile.layers[layer].heads.empty()) all.push_back({static_cast<int32_t>(layer), -1});
  }
  for (size_t layer = 0; layer < profile.layers.size(); ++layer) {
    for (size_t head = 0; head < profile.layers[layer].heads.size(); ++head) {
      all.push_back({static_cast<int32_t>(layer), static_cast<int32_t>(head)});
    }
  }
  return all;
}

std::string name_of(const Ablation& removed) {
  if (removed.layer < 0) return "";
  return std::to_string(removed.layer) + ":" +
         (removed.head < 0 ? "*" : std::to_string(removed.head));
}

void measure_losses(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
                    const std::vector<llama_token>& tokens, const ProfileSettings& settings,
                    Notebook& notebook) {
  const std::vector<Ablation> all = ablations(notebook.partial().profile);
  const auto count = std::min(static_cast<size_t>(settings.loss_tokens), tokens.size());
  LossMeter meter(runtime, plugin, model,
                  {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count)},
                  settings.threads);
  Progress progress("removing heads", static_cast<int64_t>(all.size()), "heads");
  int64_t done = 0;
  for (const Ablation& removed : all) {
    const std::string name = name_of(removed);
    if (!notebook.partial().losses.contains(name)) notebook.add_loss(name, meter.loss(removed));
    progress.update(++done);
  }
  notebook.save_rest();
}

/// Importances from losses; heads in the order of ablations().
std::vector<double> set_importances(const std::map<std::string, double>& losses, Profile& profile) {
  const double base = losses.at("");
  const auto increase = [&](const Ablation& removed) {
    const double loss = losses.at(name_of(removed));
    // A model that only makes noise without a head has lost everything.
    return std::isfinite(loss) ? std::max(loss - base, 0.0) : kLargestImportance;
  };
  std::vector<double> importances;
  for (size_t l = 0; l < profile.layers.size(); ++l) {
    LayerProfile& layer = profile.layers[l];
    if (layer.heads.empty()) continue;
    layer.importance = increase({static_cast<int32_t>(l), -1});
    for (size_t h = 0; h < layer.heads.size(); ++h) {
      layer.heads[h].importance = increase({static_cast<int32_t>(l), static_cast<int32_t>(h)});
      importances.push_back(head_importance(layer.heads[h].importance, layer.importance));
    }
  }
  return importances;
}

/// For each query head the curve of the lists chosen for it; of dense heads that of the first
/// candidate.
std::vector<KeptCurve> chosen_curves(const Profile& profile) {
  std::vector<KeptCurve> curves;
  for (const LayerProfile& layer : profile.layers) {
    for (size_t h = 0; h < layer.heads.size(); ++h) {
      const KvHeadProfile& head = layer.kv_heads[h * layer.kv_heads.size() / layer.heads.size()];
      const auto chosen =
          std::find_if(head.curves.begin(), head.curves.end(),
                       [&](const KeptCurve& c) { return !c.lists.dense && c.lists == head.lists; });
      curves.push_back(chosen == head.curves.end() ? head.curves.front() : *chosen);
    }
  }
  return curves;
}

void set_shares(std::span<const double> shares, Profile& profile) {
  size_t next = 0;
  for (LayerProfile& layer : profile.layers) {
    for (HeadProfile& head : layer.heads) head.keep = shares[next++];
  }
}

}  // namespace

Profile measure_profile(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
                        const ProfiledModel& identity, const std::vector<llama_token>& tokens,
                        const ProfileSettings& settings) {
  const auto layers = static_cast<size_t>(llama_model_n_layer(model.get()));
  Notebook notebook = open_notebook(settings, identity, key_of(identity, tokens, settings), layers);
  try {
    measure_lists(runtime, plugin, model, tokens, settings, notebook);
    if (settings.importance) {
      measure_losses(runtime, plugin, model, tokens, settings, notebook);
    }
  } catch (...) {
    notebook.save_rest();
    throw;
  }
  Profile profile = notebook.partial().profile;
  const double floor = std::min(kFloor, settings.budget);
  if (settings.importance) {
    const std::vector<double> importances = set_importances(notebook.partial().losses, profile);
    set_shares(shares_by_importance(importances, settings.budget, floor), profile);
  } else if (settings.budget > 0) {
    set_shares(shares_by_mass(chosen_curves(profile), settings.budget, floor), profile);
  }
  return profile;
}

}  // namespace shadowattn::tool
