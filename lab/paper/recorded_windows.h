// Attention calls recorded while the model reads windows of text: what experiments about the
// estimate work on.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/recording.h"
#include "measure/recall_table.h"
#include "paper/experiment.h"
#include "shadowattn/attention.h"
#include "shadowattn/executor.h"

namespace shadowattn::tool::paper {

/// Query rows that are recorded, the last ones of a window: a chunk of a prompt.
inline constexpr int64_t kRecordedRows = 512;

/// What a set of windows is made of; for JSON and for people.
struct WindowFacts {
  int64_t length = 0;
  int windows = 0;
  std::vector<int> layers;
  int64_t sampled_rows = 0;  ///< query rows of each head and window that are looked at
};
Json to_json(const WindowFacts& facts);
/// "8 windows of 1,024 tokens, layers 0, 1, 2, 3, 64 query rows of each head and window", from
/// to_json's.
std::string windows_text(const Json& facts);
/// What the calibrated scales come from: "other windows of this length".
std::string calibration_text(bool calibrated_on_itself);

/// The windows of one length: some to measure on, others to calibrate static scales on.
class RecordedWindows {
 public:
  /// All windows that the effort allows. With `calibrate` a quarter of them, at least one, is for
  /// calibration. Throws Failure when texts are too short for one.
  RecordedWindows(const Workbench& workbench, int64_t length, bool calibrate);

  const WindowFacts& facts() const { return facts_; }
  /// No two windows: scales are calibrated on the one that is measured too.
  bool calibrated_on_itself() const { return calibration_.empty(); }
  /// For measure::add_call and sample_rows: of the recorded rows every so many.
  int every() const;
  Executor& executor() const { return *executor_; }

  using Step = std::function<void(const AttentionCall& call)>;
  /// step(call) for the recorded layers of every window to measure on; a call lives as long as the
  /// step. `label` is shown beside the progress. Throws Failure, also on Ctrl-C.
  void for_each_call(const std::string& label, const Step& step) const;
  /// The mean over heads and calibration windows of the largest scales, keys with their mean.
  measure::ScalePair calibrated_mean() const;

 private:
  using Windows = std::vector<std::vector<llama_token>>;

  void visit(const Windows& windows, const std::string& label, const Step& step) const;
  std::map<int, RecordedCall> record(const std::vector<llama_token>& window,
                                     const std::function<void(int64_t)>& on_progress) const;
  int64_t rows() const;

  const Workbench& workbench_;
  std::unique_ptr<Executor> executor_;
  Windows measured_;
  Windows calibration_;
  WindowFacts facts_;
};

/// Layers that are recorded: all, or when there are more than `most` as many, the first and the
/// last among them, evenly spread.
std::vector<int> spread_layers(int layers, int most);

}  // namespace shadowattn::tool::paper
