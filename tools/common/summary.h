// What a run did, in tables for people.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace shadowattn::tool {

/// Columns aligned by the widest cell; two blanks between them.
class Table {
 public:
  void add_row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// Columns from this one on are aligned to the right.
  void align_right_from(size_t column) { first_right_ = column; }
  std::string text() const;

 private:
  std::vector<std::string> rendered(const std::vector<size_t>& widths) const;

  std::vector<std::vector<std::string>> rows_;
  size_t first_right_ = SIZE_MAX;
};

/// Times and sizes of one prompt and its answer. Negative: not reached.
struct RunFigures {
  std::string model;
  std::string mode;
  int threads = 0;
  int64_t context_tokens = 0;
  int64_t prompt_tokens = 0;
  int64_t processed_tokens = 0;  ///< of the prompt, when interrupted
  int64_t answer_tokens = 0;
  double load_seconds = 0;
  double first_token_seconds = -1;  ///< from the start of the prompt to the first token
  double prefill_seconds = 0;
  double decode_seconds = 0;  ///< of the tokens after the first
  bool interrupted = false;

  double prefill_rate() const;
  double decode_rate() const;
};

/// Totals of the plug-in's report.
struct AttentionTotals {
  int64_t calls = 0;
  int64_t visible_pairs = 0;
  int64_t kept_pairs = 0;
  int64_t dense_calls = 0;
  std::map<std::string, int64_t> dense_reasons;  ///< -> calls
  double pilot_seconds = 0;                      ///< sums over threads
  double select_seconds = 0;
  double attend_seconds = 0;
  double wall_seconds = 0;  ///< as llama.cpp sees it
  double cpu_seconds = 0;   ///< of all threads; 0: not measured, for calls of few rows are not

  double kept_share() const;
};
AttentionTotals attention_totals(const nlohmann::json& report);

/// One line per reason for which attention was not sparse: "dense  layers 0-3  …".
std::vector<std::vector<std::string>> dense_rows(const nlohmann::json& report);

int64_t peak_memory_bytes();

/// The block that `run` prints at the end.
std::string run_summary(const RunFigures& figures, const nlohmann::json& report);

/// JSON as text. Paths may hold bytes that are not UTF-8; these are replaced.
std::string json_text(const nlohmann::json& value);

/// The plug-in's report with the run's figures under "run".
nlohmann::json run_report(const RunFigures& figures, const nlohmann::json& report);

}  // namespace shadowattn::tool
