// Progress on standard error: a bar on a terminal, elsewhere at most a line in ten seconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace shadowattn::tool {

/// Nothing is shown for work that ends within two seconds (not on a terminal: ten).
class Progress {
 public:
  /// `unit` names what is counted ("tokens"); empty: only the percentage is shown.
  Progress(std::string label, int64_t total, std::string unit);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void set_label(std::string label) { label_ = std::move(label); }
  void set_total(int64_t total) { total_ = total; }
  /// `done` of `total` is finished. Cheap; draws at most ten times a second.
  void update(int64_t done);
  /// Removes the bar, so that other text can be printed.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  bool due(Clock::time_point now) const;
  void measure_rate(Clock::time_point now, int64_t done);
  void draw(int64_t done, double share);
  std::string figures(int64_t done, double share) const;

  std::string label_;
  int64_t total_;
  std::string unit_;
  bool terminal_;
  bool visible_ = false;  // a bar stands on the current line
  Clock::time_point start_;
  Clock::time_point last_drawn_;

  Clock::time_point last_measured_;
  int64_t last_done_ = 0;
  double rate_ = 0;  // per second, smoothed: the last tokens of a prompt cost more than the first
};

}  // namespace shadowattn::tool
