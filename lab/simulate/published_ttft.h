// Predictions beside the times that were published, and how far off they are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "simulate/prefill_prediction.h"

namespace shadowattn::tool::simulate {

/// One published time to the first token beside the prediction. Times in ms.
struct TtftComparison {
  std::string model{};
  int64_t tokens = 0;
  Attention attention = Attention::kSparse;
  double predicted_ms = 0;
  double published_ms = 0;
  bool fitted = false;     ///< figures of the SoC file were fitted to this row: no prediction
  bool throttled = false;  ///< by the source's own note, so that its time is not the chip's
  std::string note{};      ///< what the source says of the row; else empty

  /// (predicted - published) / published
  double error() const { return predicted_ms / published_ms - 1; }
};

/// A published ratio of two times, dense over sparse.
struct SpeedupComparison {
  std::string what{};
  double predicted = 0;
  double published = 0;
  std::string source{};
  std::string note{};

  double error() const { return predicted / published - 1; }
};

/// Over rows; all zero for none.
struct ErrorSummary {
  int64_t rows = 0;
  double mean_absolute = 0;  ///< mean of |error|
  double largest = 0;        ///< the error with the largest |error|
};

/// Throttled rows are left out.
enum class RowKind { kFitted, kPredicted };
ErrorSummary summarise(const std::vector<TtftComparison>& rows, RowKind kind);

/// Where the times are from.
extern const char* const kPublishedTtftSource;

/// All rows published for this SoC, which is known by its file's name ("Snapdragon 8 Gen 3 …");
/// empty when there are none. Each is predicted with the published code's settings: its chunks,
/// dense layers, launches and cores.
std::vector<TtftComparison> compare_with_published(const SocModel& soc);

/// Only those of models of this shape.
std::vector<TtftComparison> compare_with_published(const SocModel& soc, const ModelShape& shape);

/// The paper's speedups on this SoC, predicted with the paper's settings: one middle
/// core, compiled graphs.
std::vector<SpeedupComparison> compare_paper_speedups(const SocModel& soc);

}  // namespace shadowattn::tool::simulate
