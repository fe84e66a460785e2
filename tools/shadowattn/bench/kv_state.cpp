#include "bench/kv_state.h"

#include <ggml.h>

#include <cstring>
#include <utility>

namespace shadowattn::tool {
namespace {

// The layout (llama.cpp v0.5.0, llama_kv_cache::state_write), all little-endian and unaligned:
//
//   u32 magic, i32 sequence
//   per cache, one or more (models with sliding windows have two):
//     u32 streams, per stream u32 cells, and where there are any
//       per cell  i32 position, u32 sequences, i32 each of these
//       u32 values by channel, u32 layers
//       per layer i32 type, u64 bytes of a cell's keys, these
//       per layer i32 type, u64 bytes of a cell's values, these                  token by token, or
//                 i32 type, u32 bytes of a value, u32 channels, cells per channel      by channel
//
// Everything is checked against the size, and a state that does not end where it should is refused.
class Transposer {
 public:
  explicit Transposer(std::span<const uint8_t> state) : left_(state) { out_.reserve(state.size()); }

  std::optional<std::vector<uint8_t>> run() {
    copy(sizeof(uint32_t) + sizeof(int32_t));
    while (good_ && !left_.empty()) cache();
    if (!good_) return std::nullopt;
    return std::move(out_);
  }

 private:
  void cache() {
    require(copy_number<uint32_t>() == 1);
    const size_t cells = copy_number<uint32_t>();
    for (size_t i = 0; good_ && i < cells; ++i) {
      copy(sizeof(int32_t));
      require(copy_number<uint32_t>() == 1);
      require(copy_number<int32_t>() == 0);
    }
    if (!good_ || cells == 0) return;
    require(take_number<uint32_t>() == 0);
    put_number<uint32_t>(1);
    const size_t layers = copy_number<uint32_t>();
    for (size_t i = 0; good_ && i < layers; ++i) {
      copy(sizeof(int32_t));
      copy_cells(cells, copy_number<uint64_t>());
    }
    for (size_t i = 0; good_ && i < layers; ++i) values(cells);
  }

  void values(size_t cells) {
    const auto type = copy_number<int32_t>();
    const auto row = take_number<uint64_t>();
    require(type == GGML_TYPE_F16 || type == GGML_TYPE_F32 || type == GGML_TYPE_BF16);
    if (!good_) return;
    const size_t size = type == GGML_TYPE_F32 ? 4 : 2;
    require(row % size == 0);
    const std::span<const uint8_t> from = take_cells(cells, row);
    if (!good_) return;
    const size_t channels = row / size;
    put_number(static_cast<uint32_t>(size));
    put_number(static_cast<uint32_t>(channels));
    const size_t at = out_.size();
    out_.resize(at + from.size());
    for (size_t channel = 0; channel < channels; ++channel) {
      for (size_t cell = 0; cell < cells; ++cell) {
        std::memcpy(&out_[at + (channel * cells + cell) * size], &from[cell * row + channel * size],
                    size);
      }
    }
  }

  void require(bool condition) { good_ = good_ && condition; }

  std::span<const uint8_t> take(size_t bytes) {
    require(bytes <= left_.size());
    if (!good_) return {};
    const std::span<const uint8_t> taken = left_.first(bytes);
    left_ = left_.subspan(bytes);
    return taken;
  }

  // Sizes come from the state itself: their product may not fit.
  std::span<const uint8_t> take_cells(size_t cells, uint64_t bytes_each) {
    require(bytes_each > 0 && cells <= left_.size() / bytes_each);
    return good_ ? take(cells * bytes_each) : std::span<const uint8_t>();
  }

  void put(std::span<const uint8_t> bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  void copy(size_t bytes) { put(take(bytes)); }
  void copy_cells(size_t cells, uint64_t bytes_each) { put(take_cells(cells, bytes_each)); }

  template <typename Number>
  Number take_number() {
    Number number = 0;
    const std::span<const uint8_t> bytes = take(sizeof(number));
    if (good_) std::memcpy(&number, bytes.data(), sizeof(number));
    return number;
  }

  template <typename Number>
  void put_number(Number number) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&number);
    put({bytes, sizeof(number)});
  }

  template <typename Number>
  Number copy_number() {
    const auto number = take_number<Number>();
    put_number(number);
    return number;
  }

  std::span<const uint8_t> left_;
  std::vector<uint8_t> out_;
  bool good_ = true;
};

}  // namespace

std::optional<std::vector<uint8_t>> with_values_by_channel(std::span<const uint8_t> state) {
  return Transposer(state).run();
}

}  // namespace shadowattn::tool
