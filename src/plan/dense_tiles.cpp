// How a dense call is cut into tiles.
#include <algorithm>
#include <bit>

#include "plan/list_plan.h"

namespace shadowattn {
namespace {

/// The keys that some of a run of rows sees. Of rows that are all plain it knows the ends only.
class SeenByTile {
 public:
  explicit SeenByTile(const Visibility& visibility) : visibility_(visibility) {
    if (visibility.all_plain()) return;
    words_.resize(static_cast<size_t>((visibility.end() + kWordKeys - 1) / kWordKeys));
  }

  void clear() {
    range_ = {visibility_.end(), 0};
    std::fill(words_.begin(), words_.end(), uint64_t{0});
  }

  /// How many keys that are with row `index` added.
  int64_t with(int64_t index) const {
    const KeyRange range = range_with(index);
    if (words_.empty()) return std::max<int64_t>(range.end - range.begin, 0);
    int64_t count = 0;
    for (size_t w = 0; w < words_.size(); ++w)
      count += std::popcount(words_[w] | row_word(index, w));
    return count;
  }

  void add(int64_t index) {
    range_ = range_with(index);
    for (size_t w = 0; w < words_.size(); ++w) words_[w] |= row_word(index, w);
  }

 private:
  // Rows of one mask head stand for all: masks that differ by head are rare and alike.
  uint64_t row_word(int64_t index, size_t w) const {
    return visibility_.seen(0, index, static_cast<int64_t>(w) * kWordKeys);
  }
  KeyRange range_with(int64_t index) const {
    const RowVisibility& row = visibility_.row(0, index);
    if (row.visible == 0) return range_;
    return {std::min<int64_t>(range_.begin, row.begin), std::max<int64_t>(range_.end, row.end)};
  }

  const Visibility& visibility_;
  KeyRange range_;
  std::vector<uint64_t> words_;
};

}  // namespace

std::vector<QueryTile> dense_tiles(const Visibility& visibility, int64_t group_heads,
                                   int64_t rows) {
  // Packing a key for a tile costs about what attending to it does for so many rows.
  constexpr int64_t kPackingRows = 8;
  std::vector<QueryTile> tiles;
  SeenByTile seen(visibility);
  int64_t keys = 0;
  for (int64_t i = 0; i < visibility.query_rows(); ++i) {
    const bool full = tiles.empty() || tiles.back().rows.count == rows;
    bool joins = !full && visibility.row(0, i).continues;
    if (!full && !joins) {
      const int64_t together = seen.with(i);
      const int64_t tile_rows = tiles.back().rows.count * group_heads;
      joins = together * (kPackingRows + tile_rows + group_heads) <=
              keys * (kPackingRows + tile_rows) +
                  visibility.row(0, i).visible * (kPackingRows + group_heads);
    }
    if (!joins) {
      tiles.push_back({{i, 0}, {{i, 0}}});
      seen.clear();
    }
    ++tiles.back().rows.count;
    ++tiles.back().groups.front().count;
    keys = seen.with(i);
    seen.add(i);
  }
  return tiles;
}

}  // namespace shadowattn
