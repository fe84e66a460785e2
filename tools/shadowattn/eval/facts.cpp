#include "eval/facts.h"

#include <algorithm>
#include <array>
#include <utility>

#include "eval/prose.h"

namespace shadowattn::tool {
namespace {

constexpr auto kKeyColours = std::to_array<std::string_view>(
    {"amber",  "silver", "crimson", "golden", "copper", "scarlet", "purple",  "ivory",
     "marble", "velvet", "iron",    "yellow", "orange", "violet",  "winter",  "hollow",
     "frozen", "gentle", "silent",  "broken", "wooden", "distant", "ancient", "bitter"});

constexpr auto kKeyNouns = std::to_array<std::string_view>(
    {"falcon",  "lantern", "harbour", "meadow",  "anchor", "castle",   "pillar",  "ribbon",
     "mirror",  "saddle",  "barrel",  "feather", "hammer", "cottage",  "kettle",  "thunder",
     "orchard", "needle",  "valley",  "button",  "ladder", "shepherd", "blanket", "candle"});

constexpr auto kValues = std::to_array<std::string_view>(
    {"green",   "window",   "island", "corner", "horse", "brother", "glass", "money",
     "garden",  "sleep",    "king",   "table",  "gold",  "summer",  "story", "water",
     "friend",  "sister",   "bird",   "priest", "book",  "dream",   "blood", "country",
     "silence", "children", "rock",   "party",  "city",  "fire",    "road",  "world"});

static_assert(kKeyColours.size() >= kMostFacts && kKeyNouns.size() >= kMostFacts &&
              kValues.size() >= kMostFacts);

template <size_t N>
std::vector<std::string_view> shuffled(const std::array<std::string_view, N>& words, Dice& dice) {
  std::vector<std::string_view> order(words.begin(), words.end());
  for (size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[dice.below(i + 1)]);
  return order;
}

}  // namespace

std::vector<Fact> make_facts(int count, Dice& dice, const TokenCounter& count_tokens) {
  const std::vector<std::string_view> colours = shuffled(kKeyColours, dice);
  const std::vector<std::string_view> nouns = shuffled(kKeyNouns, dice);
  std::vector<std::string_view> values = shuffled(kValues, dice);
  std::stable_partition(values.begin(), values.end(), [&](std::string_view value) {
    return count_tokens(" " + std::string(value)) == 1;
  });
  std::vector<Fact> facts;
  for (int i = 0; i < count; ++i) {
    const auto index = static_cast<size_t>(i);
    facts.push_back({std::string(colours[index]) + " " + std::string(nouns[index]),
                     std::string(values[index]), (i + 0.5) / count});
  }
  return facts;
}

}  // namespace shadowattn::tool
