#include "select/page_keeper.h"

#include <algorithm>
#include <bit>

#include "select/forced_keys.h"

namespace shadowattn {
namespace {

/// Pages whose shares of dropped keys are kept in a first-level cache before they meet the means.
constexpr int64_t kPagesAtOnce = 32;
constexpr uint16_t kWholePage = 0xFFFF;
static_assert(kShareRows % kKeepRows == 0);  // the estimate's padding serves the kernel
static_assert(kKeepPage == 16 && kWordKeys % kKeepPage == 0);

int64_t padded_rows(int64_t rows) { return (rows + kKeepRows - 1) / kKeepRows * kKeepRows; }

/// The bits of keys begin ≤ key < end of the page that starts at `first`.
uint16_t page_bits(KeyRange keys, int64_t first) {
  const int64_t begin = std::clamp<int64_t>(keys.begin - first, 0, kKeepPage);
  const int64_t end = std::clamp<int64_t>(keys.end - first, begin, kKeepPage);
  return static_cast<uint16_t>((1U << end) - (1U << begin));
}

}  // namespace

void PageKeeper::reserve(int64_t max_rows, int64_t keys, int64_t value_dim) {
  const int64_t pages = (keys + kKeepPage - 1) / kKeepPage;
  const int64_t rows = padded_rows(max_rows);
  seen_.reserve(pages + kWordKeys / kKeepPage);
  forced_.reserve(pages + kWordKeys / kKeepPage);
  whole_.reserve(pages + kWordKeys / kKeepPage);
  kept_.reserve(pages);
  indices_.reserve(pages * kKeepPage);
  dropped_.reserve(kPagesAtOnce * rows);
  share_.reserve(rows * kKeepPage);
  far_.reserve(rows * value_dim);
  far_mass_.reserve(rows);
  kept_mass_.reserve(rows);
}

int64_t PageKeeper::scratch_bytes() const {
  return seen_.bytes() + forced_.bytes() + whole_.bytes() + kept_.bytes() + indices_.bytes() +
         dropped_.bytes() + share_.bytes() + far_.bytes() + far_mass_.bytes() + kept_mass_.bytes();
}

void PageKeeper::mark_seen(const Visibility& visibility, const ListRows& list) {
  const KeyRange any = visible_range(visibility, list);
  first_page_ = any.begin < any.end ? (any.begin - first_key_) / kKeepPage : 0;
  end_page_ = any.begin < any.end ? (any.end - first_key_ + kKeepPage - 1) / kKeepPage : 0;
  KeyRange common = any;
  bool plain = true;
  for (int64_t i = 0; i < list.count(); ++i) {
    const RowVisibility& row = visibility.row(list.head(i), list.row(i));
    common.begin = std::max<int64_t>(common.begin, row.begin);
    common.end = std::min<int64_t>(common.end, row.end);
    plain = plain && row.plain;
  }
  if (plain) {
    for (int64_t page = first_page_; page < end_page_; ++page) {
      const int64_t first = first_key_ + page * kKeepPage;
      seen_.data()[page] = page_bits(any, first);
      whole_.data()[page] = page_bits(common, first) == kWholePage ? 1 : 0;
    }
  } else {
    constexpr int64_t kPages = kWordKeys / kKeepPage;
    for (int64_t page = first_page_; page < end_page_; page += kPages) {
      const int64_t first = first_key_ + page * kKeepPage;
      uint64_t by_any = 0;
      uint64_t by_all = ~uint64_t{0};
      for (int64_t i = 0; i < list.count(); ++i) {
        const uint64_t word = visibility.seen(list.head(i), list.row(i), first);
        by_any |= word;
        by_all &= word;
      }
      for (int64_t i = 0; i < kPages; ++i) {
        const auto all = static_cast<uint16_t>(by_all >> i * kKeepPage);
        seen_.data()[page + i] = static_cast<uint16_t>(by_any >> i * kKeepPage);
        whole_.data()[page + i] = all == kWholePage ? 1 : 0;
      }
    }
  }
}

void PageKeeper::start(const EngineOptions& options, const Visibility& visibility,
                       const ListRows& list, int64_t first_key) {
  first_key_ = first_key;
  rows_ = padded_rows(list.count());
  mark_seen(visibility, list);
  for (int64_t page = first_page_; page < end_page_; ++page) {
    forced_.data()[page] = whole_.data()[page] != 0 ? 0 : kWholePage;
  }
  // One at least, so that every row has a key on the exact scale.
  const int64_t sink = std::max<int64_t>(options.sink, 1);
  for (int64_t i = 0; i < list.count(); ++i) {
    for_each_forced(sink, 0, visibility, list.head(i), list.row(i), [&](int64_t key) {
      const int64_t at = key - first_key_;
      forced_.data()[at / kKeepPage] |= static_cast<uint16_t>(1U << at % kKeepPage);
    });
  }
}

void PageKeeper::collect(int64_t page, int64_t count) {
  int32_t* out = indices_.data() + count_;
  for (int64_t i = page; i < page + count; ++i) {
    const auto first = static_cast<int32_t>(first_key_ + i * kKeepPage);
    for (uint32_t left = kept_.data()[i]; left != 0; left &= left - 1) {
      *out++ = first + std::countr_zero(left);
    }
  }
  count_ = out - indices_.data();
}

void PageKeeper::add_far(const float* mean, int64_t page, int64_t count, int64_t value_dim,
                         const AttendKernel& kernel) {
  for (int64_t i = 0; i < count; ++i) {
    const float* dropped = dropped_.data() + i * rows_;
    for (int64_t r = 0; r < rows_; ++r) far_mass_.data()[r] += dropped[r];
  }
  AttendBlock block;
  block.logits = dropped_.data();
  block.value = mean + page * value_dim;
  block.rows = rows_;
  block.keys = count;
  block.value_dim = value_dim;
  block.out = far_.data();
  kernel.add_output(block);
}

KeptKeys PageKeeper::keep(const AttentionCall& call, const KernelSet& kernels, const ListRows& list,
                          const ValuePages& values, float threshold, const TileEstimate& estimate) {
  const int64_t value_dim = call.value.dim;
  const int64_t kv_head = list.first_head / (call.query.heads / call.key.heads);
  std::fill_n(far_.data(), rows_ * value_dim, 0.0F);
  std::fill_n(far_mass_.data(), rows_, 0.0F);
  count_ = 0;
  const TileEstimate::ShareRows shares = estimate.share_rows();
  KeptKeys kept;
  KeepPages work;
  work.stride = shares.stride;
  work.rows = rows_;
  work.factor = shares.factor;
  work.threshold = threshold;
  work.dropped = dropped_.data();
  work.share = share_.data();
  for (int64_t page = first_page_; page < end_page_; page += kPagesAtOnce) {
    work.pages = std::min(kPagesAtOnce, end_page_ - page);
    work.half = shares.half + (page - shares.first_block) * kKeepPage;
    work.weight = values.weight(kv_head) + page * kKeepPage;
    work.forced = forced_.data() + page;
    work.seen = seen_.data() + page;
    work.kept = kept_.data() + page;
    kept.change += kernels.keep.pages(work);
    collect(page, work.pages);
    add_far(values.mean(kv_head), page, work.pages, value_dim, kernels.attend);
  }
  finish(kept, list, shares);
  return kept;
}

float PageKeeper::kept_mass(int64_t row, const TileEstimate::ShareRows& shares) const {
  constexpr float kCertain = 0.01F;  // below, too little of the difference of two sums is left
  constexpr float kLeast = 1e-15F;   // what a factor of floats can make up for
  // All shares of a row together are one.
  const float rest = 1.0F - far_mass_.data()[row];
  if (rest > kCertain) return rest;
  const uint16_t* half = shares.half + row * shares.stride;
  const int64_t first = first_key_ + shares.first_block * kKeepPage;
  float sum = 0.0F;
  for (int64_t i = 0; i < count_; ++i) {
    sum += std::bit_cast<float>(uint32_t{half[indices_.data()[i] - first]} << 16);
  }
  return std::max(sum * shares.factor[row], kLeast);
}

void PageKeeper::finish(KeptKeys& kept, const ListRows& list,
                        const TileEstimate::ShareRows& shares) {
  for (int64_t r = 0; r < list.count(); ++r) {
    kept_mass_.data()[r] = kept_mass(r, shares);
    kept.dropped += std::min(far_mass_.data()[r], 1.0F);
  }
  kept.list = {indices_.data(), 0, count_};
  kept.far = {far_.data(), far_mass_.data(), kept_mass_.data()};
}

}  // namespace shadowattn
