#include "simulate/model_shape.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "common/failure.h"
#include "common/text.h"

namespace shadowattn::tool::simulate {
namespace {

// Large enough for any model there is, small enough that products stay far from overflow.
constexpr int64_t kMostLayers = 1 << 10;
constexpr int64_t kMostHeads = 1 << 10;
constexpr int64_t kMostWidth = 1 << 18;
constexpr int64_t kMostDim = 1 << 12;
constexpr int64_t kMostVocab = 1 << 24;

std::string names_of_shapes() {
  std::string names;
  for (const ModelShape& shape : known_shapes()) {
    names.append(names.empty() ? "" : ", ").append(shape.name);
  }
  return names;
}

/// The whole numbers between slashes; empty when there is anything else.
std::vector<int64_t> numbers_in(const std::string& text) {
  std::vector<int64_t> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    int64_t number = 0;
    const auto [stop, error] = std::from_chars(at, end, number);
    if (error != std::errc() || (stop != end && *stop != '/')) return {};
    numbers.push_back(number);
    if (stop == end) return numbers;
    at = stop + 1;
  }
}

void check_range(int64_t value, int64_t smallest, int64_t largest, const char* what,
                 const std::string& origin) {
  if (value >= smallest && value <= largest) return;
  throw Failure(origin + ": " + what + " must be between " + format_count(smallest) + " and " +
                    format_count(largest) + ", not " + format_count(value),
                kExitUsage);
}

}  // namespace

int64_t ModelShape::layer_parameters() const {
  const int64_t projections =
      hidden * (heads + 2 * kv_heads) * head_dim + heads * head_dim * hidden;
  return projections + 3 * hidden * ffn;
}

int64_t ModelShape::parameters() const { return layers * layer_parameters() + vocab * hidden; }

bool ModelShape::same_shape(const ModelShape& other) const {
  const auto numbers = [](const ModelShape& s) {
    return std::array{s.layers, s.hidden, s.heads, s.kv_heads, s.head_dim, s.ffn, s.vocab};
  };
  return numbers(*this) == numbers(other);
}

std::span<const ModelShape> known_shapes() {
  // layers, hidden, heads, KV heads, head dim, FFN, vocabulary
  static const std::array<ModelShape, 9> shapes = {{
      {"phonelm-0.5b", 24, 1024, 16, 16, 64, 4864, 49152},
      {"phonelm-1.5b", 19, 2560, 16, 16, 160, 6816, 49152},
      {"qwen1.5-0.5b", 24, 1024, 16, 16, 64, 2816, 151936},
      {"qwen1.5-1.8b", 24, 2048, 16, 16, 128, 5504, 151936},
      {"qwen2-0.5b", 24, 896, 14, 2, 64, 4864, 151936},
      {"qwen2-1.5b", 28, 1536, 12, 2, 128, 8960, 151936},
      {"qwen2.5-1.5b", 28, 1536, 12, 2, 128, 8960, 151936},
      {"qwen2.5-3b", 36, 2048, 16, 2, 128, 11008, 151936},
      {"qwen2.5-7b", 28, 3584, 28, 4, 128, 18944, 152064},
  }};
  return shapes;
}

ModelShape parse_shape(const std::string& text) {
  const auto shapes = known_shapes();
  const auto known = std::find_if(shapes.begin(), shapes.end(), [&](const ModelShape& shape) {
    return shape.name == lower_case(text);
  });
  if (known != shapes.end()) return *known;
  const std::vector<int64_t> numbers = numbers_in(text);
  if (numbers.size() != 6 && numbers.size() != 7) {
    throw Failure("unknown model shape \"" + text + "\"; known: " + names_of_shapes() +
                      "; or give HEADS/KV_HEADS/DIM/LAYERS/HIDDEN/FFN[/VOCAB], or a GGUF file",
                  kExitUsage);
  }
  ModelShape shape = {.name = text,
                      .layers = numbers[3],
                      .hidden = numbers[4],
                      .heads = numbers[0],
                      .kv_heads = numbers[1],
                      .head_dim = numbers[2],
                      .ffn = numbers[5],
                      .vocab = numbers.size() == 7 ? numbers[6] : 0};
  check_shape(shape, "model shape \"" + text + "\"");
  return shape;
}

void check_shape(const ModelShape& shape, const std::string& origin) {
  check_range(shape.heads, 1, kMostHeads, "the number of heads", origin);
  check_range(shape.kv_heads, 1, kMostHeads, "the number of KV heads", origin);
  check_range(shape.head_dim, 1, kMostDim, "the head dim", origin);
  check_range(shape.layers, 1, kMostLayers, "the number of layers", origin);
  check_range(shape.hidden, 1, kMostWidth, "the hidden size", origin);
  check_range(shape.ffn, 1, kMostWidth, "the FFN's size", origin);
  check_range(shape.vocab, 0, kMostVocab, "the vocabulary", origin);
  if (shape.heads % shape.kv_heads == 0) return;
  throw Failure(origin + ": " + format_count(shape.heads) + " heads are no multiple of " +
                    format_count(shape.kv_heads) + " KV heads",
                kExitUsage);
}

}  // namespace shadowattn::tool::simulate
