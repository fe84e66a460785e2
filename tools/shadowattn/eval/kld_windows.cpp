#include "eval/kld_windows.h"

#include <algorithm>

namespace shadowattn::tool::eval {
namespace {

constexpr int64_t kFirstLength = 2048;

}  // namespace

std::vector<int64_t> window_lengths(int64_t context) {
  std::vector<int64_t> lengths;
  for (int64_t length = kFirstLength; length < context; length *= 2) lengths.push_back(length);
  lengths.push_back(context);
  return lengths;
}

std::vector<int64_t> window_starts(int64_t tokens, int64_t length, int count) {
  const int64_t fitting = tokens / length;
  const int64_t number = std::min<int64_t>(count, fitting);
  std::vector<int64_t> starts;
  for (int64_t i = 0; i < number; ++i) starts.push_back(i * fitting / number * length);
  return starts;
}

ScoredRows scored_rows(int64_t length, int64_t context) {
  return {length / 2, std::min(length, context - 1)};
}

std::vector<int64_t> step_ends(int64_t context, int64_t ubatch) {
  std::vector<int64_t> ends;
  int64_t start = 0;
  for (const int64_t length : window_lengths(context)) {
    while (start < length) {
      start = std::min(start + ubatch, length);
      ends.push_back(start);
    }
  }
  return ends;
}

}  // namespace shadowattn::tool::eval
