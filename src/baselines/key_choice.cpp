#include "baselines/key_choice.h"

#include <algorithm>

#include "baselines/softmax_shares.h"
#include "plan/list_plan.h"
#include "select/forced_keys.h"

namespace shadowattn {
namespace {

template <typename Candidate>
bool better(const Candidate& a, const Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.first < b.first;
}

}  // namespace

void KeyChooser::reserve(int64_t keys) {
  in_.reserve(static_cast<size_t>(keys));
  keys_.reserve(static_cast<size_t>(keys));
  list_.reserve(static_cast<size_t>(keys));
}

int64_t KeyChooser::scratch_bytes() const {
  return static_cast<int64_t>(in_.capacity() + keys_.capacity() * sizeof(Key) +
                              blocks_.capacity() * sizeof(Block) +
                              list_.capacity() * sizeof(int32_t));
}

int64_t KeyChooser::start(const EngineOptions& options, const Visibility& visibility,
                          const ListRows& list, const RankedKeys& ranked) {
  in_.assign(static_cast<size_t>(ranked.count), 0);
  forced_ = 0;
  double forced_mass = 0.0;
  for_each_forced(options, visibility, list, [&](int64_t key) {
    uint8_t& in = in_[static_cast<size_t>(key - ranked.first_key)];
    if (in != 0) return;
    in = 1;
    ++forced_;
    forced_mass += ranked.rank[key - ranked.first_key];
  });
  double all_mass = 0.0;
  seen_ = 0;
  for (int64_t j = 0; j < ranked.count; ++j) {
    if (ranked.rank[j] == kUnseen) continue;
    all_mass += ranked.rank[j];
    ++seen_;
  }
  int64_t visible = 0;
  for (int64_t i = 0; i < list.count(); ++i) {
    visible = std::max<int64_t>(visible, visibility.row(list.head(i), list.row(i)).visible);
  }
  needed_ = all_mass * (1.0 - options.attn_error) - forced_mass;
  by_mass_ = options.attn_error > 0.0 && visible > options.keep_floor;
  if (visible <= options.keep_floor) return seen_ - forced_;
  return std::max<int64_t>(keep_count(options, visible) - forced_, 0);
}

int64_t KeyChooser::fewest(int64_t count, double needed) {
  constexpr int64_t kFewEnough = 32;
  const auto begin = keys_.begin();
  int64_t taken = 0;  // these are in, and better than the rest
  int64_t open = count;
  while (open - taken > kFewEnough) {
    const int64_t middle = taken + (open - taken) / 2;
    std::nth_element(begin + taken, begin + middle, begin + open, better<Key>);
    double mass = 0.0;
    for (int64_t i = taken; i < middle; ++i) mass += keys_[static_cast<size_t>(i)].rank;
    if (mass >= needed) {
      open = middle;
    } else {
      taken = middle;
      needed -= mass;
    }
  }
  std::sort(begin + taken, begin + open, better<Key>);
  while (taken < open && needed > 0.0) needed -= keys_[static_cast<size_t>(taken++)].rank;
  return taken;
}

ChosenKeys KeyChooser::finish(const RankedKeys& ranked) {
  list_.clear();
  double lost = 0.0;
  for (int64_t j = 0; j < ranked.count; ++j) {
    if (in_[static_cast<size_t>(j)] != 0) {
      list_.push_back(static_cast<int32_t>(ranked.first_key + j));
    } else if (ranked.rank[j] != kUnseen) {
      lost += ranked.rank[j];
    }
  }
  return {{list_.data(), 0, static_cast<int64_t>(list_.size())}, lost};
}

ChosenKeys KeyChooser::keys(const EngineOptions& options, const Visibility& visibility,
                            const ListRows& list, const RankedKeys& ranked, double nearly_all) {
  int64_t allowed = start(options, visibility, list, ranked);
  keys_.clear();
  for (int64_t j = 0; j < ranked.count; ++j) {
    if (ranked.rank[j] == kUnseen || in_[static_cast<size_t>(j)] != 0) continue;
    keys_.push_back({ranked.rank[j], static_cast<int32_t>(j)});
  }
  allowed = std::min<int64_t>(allowed, std::ssize(keys_));
  if (allowed < std::ssize(keys_)) {
    std::nth_element(keys_.begin(), keys_.begin() + allowed, keys_.end(), better<Key>);
  }
  int64_t taken = by_mass_ ? fewest(allowed, needed_) : allowed;
  if (static_cast<double>(taken + forced_) > nearly_all * static_cast<double>(seen_)) {
    taken = allowed;
  }
  for (int64_t i = 0; i < taken; ++i) {
    in_[static_cast<size_t>(keys_[static_cast<size_t>(i)].first)] = 1;
  }
  return finish(ranked);
}

void KeyChooser::list_blocks(const RankedKeys& ranked, int64_t block) {
  blocks_.clear();
  for (int64_t j = 0; j < ranked.count;) {
    Block next;
    next.first = j;
    next.end = std::min(ranked.count, j + block - (ranked.first_key + j) % block);
    for (; j < next.end; ++j) {
      const double rank = ranked.rank[j];
      if (rank == kUnseen) continue;
      next.rank = std::max(next.rank, rank);
      if (in_[static_cast<size_t>(j)] != 0) continue;
      next.mass += rank;
      ++next.keys;
    }
    if (next.keys > 0) blocks_.push_back(next);
  }
}

ChosenKeys KeyChooser::blocks(const EngineOptions& options, const Visibility& visibility,
                              const ListRows& list, const RankedKeys& ranked, int64_t block) {
  int64_t left = start(options, visibility, list, ranked);
  list_blocks(ranked, block);
  std::sort(blocks_.begin(), blocks_.end(), better<Block>);
  double needed = needed_;
  for (const Block& best : blocks_) {
    if (left <= 0 || (by_mass_ && needed <= 0.0)) break;
    for (int64_t j = best.first; j < best.end; ++j) {
      if (ranked.rank[j] != kUnseen) in_[static_cast<size_t>(j)] = 1;
    }
    left -= best.keys;
    needed -= best.mass;
  }
  return finish(ranked);
}

TokenList KeyChooser::window(const EngineOptions& options, const Visibility& visibility,
                             int64_t head, int64_t row, const RankedKeys& seen) {
  const int64_t visible = visibility.row(head, row).visible;
  int64_t wanted = int64_t{options.sink} + options.recent;
  if (options.attn_error == 0.0) wanted = std::max(wanted, keep_count(options, visible));
  if (visible <= options.keep_floor) wanted = visible;
  in_.assign(static_cast<size_t>(seen.count), 0);
  const auto force = [&](int64_t key) {
    uint8_t& in = in_[static_cast<size_t>(key - seen.first_key)];
    wanted -= in == 0 ? 1 : 0;
    in = 1;
  };
  for_each_forced(options.sink, wanted - options.sink, visibility, head, row, force);
  // Where a shifted context put the row's token before older ones, these are what comes next.
  for (int64_t j = seen.count - 1; j >= 0 && wanted > 0; --j) {
    if (seen.rank[j] != kUnseen && in_[static_cast<size_t>(j)] == 0) force(seen.first_key + j);
  }
  return finish(seen).list;
}

}  // namespace shadowattn
