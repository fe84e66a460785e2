#include "common/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "common/text.h"

namespace shadowattn::tool {
namespace {

constexpr double kQuietSeconds = 2;    // on a terminal, then …
constexpr double kFrameSeconds = 0.1;  // … a bar that moves
constexpr double kLineSeconds = 10;    // elsewhere: a line as often, the first after as long
constexpr double kRateWeight = 0.3;    // of the newest measurement
constexpr int kDefaultWidth = 80;
constexpr int kWidestBar = 30;

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

int terminal_width() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kDefaultWidth;
  return size.ws_col;
}

}  // namespace

Progress::Progress(std::string label, int64_t total, std::string unit)
    : label_(std::move(label)),
      total_(total),
      unit_(std::move(unit)),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      last_drawn_(start_),
      last_measured_(start_) {}

void Progress::update(int64_t done) {
  const Clock::time_point now = Clock::now();
  const double share =
      total_ > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0)
                 : 0;
  measure_rate(now, done);
  if (!due(now)) return;
  draw(done, share);
  last_drawn_ = now;
}

void Progress::clear() {
  if (!visible_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  visible_ = false;
}

bool Progress::due(Clock::time_point now) const {
  const double since = seconds(now - last_drawn_);
  if (!terminal_) return since >= kLineSeconds;
  return seconds(now - start_) >= kQuietSeconds && (!visible_ || since >= kFrameSeconds);
}

void Progress::measure_rate(Clock::time_point now, int64_t done) {
  if (last_done_ == 0) {  // what came before the first step is not the work's own time
    last_measured_ = now;
    last_done_ = done;
    return;
  }
  const double elapsed = seconds(now - last_measured_);
  if (done <= last_done_ || elapsed < kFrameSeconds) return;
  const double rate = static_cast<double>(done - last_done_) / elapsed;
  rate_ = rate_ == 0 ? rate : kRateWeight * rate + (1 - kRateWeight) * rate_;
  last_measured_ = now;
  last_done_ = done;
}

std::string Progress::figures(int64_t done, double share) const {
  std::string text = format_fixed(100 * share, 0) + " %";
  if (!unit_.empty() && rate_ > 0) text += "  " + format_rate(rate_) + " " + unit_ + "/s";
  if (rate_ > 0 && done < total_) {
    text += "  " + format_seconds(static_cast<double>(total_ - done) / rate_) + " left";
  }
  return text;
}

void Progress::draw(int64_t done, double share) {
  const std::string text = figures(done, share);
  if (!terminal_) {
    std::fprintf(stderr, "%s: %s\n", label_.c_str(), text.c_str());
    return;
  }
  const int taken = static_cast<int>(label_.size() + text.size()) + 6;
  const int width = std::clamp(terminal_width() - taken, 0, kWidestBar);
  const int filled = static_cast<int>(share * width);
  const std::string bar = std::string(static_cast<size_t>(filled), '#') +
                          std::string(static_cast<size_t>(width - filled), '.');
  std::fprintf(stderr, "\r\x1b[K%s [%s] %s", label_.c_str(), bar.c_str(), text.c_str());
  std::fflush(stderr);
  visible_ = true;
}

}  // namespace shadowattn::tool
