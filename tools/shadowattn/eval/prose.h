// Filler prose from a small grammar: plain sentences in the manner of an old novel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>

namespace shadowattn::tool {

/// Choices that are the same on every machine (the standard distributions are not).
class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}

  /// 0 … count - 1.
  size_t below(size_t count) { return static_cast<size_t>(engine_() % count); }
  bool one_in(size_t count) { return below(count) == 0; }

  std::string_view pick(std::span<const std::string_view> words) {
    return words[below(words.size())];
  }

 private:
  std::mt19937_64 engine_;
};

/// One sentence with its full stop and without spaces around it.
std::string make_sentence(Dice& dice);

/// Sentence `index` of a text: with the blank, or the line break between paragraphs, before it.
std::string with_space(std::string sentence, size_t index);

}  // namespace shadowattn::tool
