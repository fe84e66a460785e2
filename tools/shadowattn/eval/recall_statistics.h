// How well token lists hold the softmax mass: per head, and over all heads. Definitions of recall,
// lost mass and the oracle: RowSample in shadowattn/engine.h.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "shadowattn/engine.h"

namespace shadowattn::tool::eval {

/// Mean and the bad end: the first percentile and the smallest value where more is better, the 99th
/// percentile and the largest where less is.
struct Spread {
  double mean = 0;
  double tail = 0;
  double worst = 0;
};

struct ListQuality {
  int64_t rows = 0;           ///< sampled (row, head) pairs
  Spread recall;              ///< more is better
  Spread mass;                ///< retained: more is better
  Spread oracle_gap;          ///< mass of the best `kept` keys minus ours: less is better
  Spread output_error;        ///< ‖o - ô‖ / ‖o‖ of a row: less is better
  double estimated_mass = 0;  ///< retained as the estimate has it, mean
  double kept = 0;            ///< share of the visible keys, over all rows
  double oracle_kept = 0;     ///< share an oracle needs for the same mass
  /// kept / oracle_kept; 1 where nothing is kept.
  double kept_over_oracle() const { return oracle_kept > 0 ? kept / oracle_kept : 1; }
};

/// More is better: `ascending` values are judged from their start; else from their end.
Spread spread(std::vector<double> values, bool more_is_better);

/// Samples and output errors of one method, by (layer, head).
class ListQualities {
 public:
  using Head = std::pair<int, int>;

  void add(int layer, const RowSample& sample);
  /// Of one row of one head.
  void add_output_error(int layer, int head, double error);

  ListQuality all() const;
  std::map<Head, ListQuality> heads() const;

 private:
  struct Values {
    std::vector<double> recall;
    std::vector<double> mass;
    std::vector<double> gap;
    std::vector<double> error;
    double estimated_mass = 0;  ///< sum
    int64_t visible = 0;
    int64_t kept = 0;
    int64_t oracle_kept = 0;

    void append(const Values& other);
  };

  static ListQuality quality(const Values& values);

  std::map<Head, Values> values_;
};

}  // namespace shadowattn::tool::eval
