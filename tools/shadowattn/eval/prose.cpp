#include "eval/prose.h"

#include <array>
#include <initializer_list>

namespace shadowattn::tool {
namespace {

using Words = std::string_view;

// Each table is one slot of the grammar. Slots fit each other whatever is drawn: persons are
// singular, verbs past tense, places and times adverbial.
constexpr auto kPersons = std::to_array<Words>(
    {"the captain",     "my uncle",       "the old doctor", "Mrs. Harding",   "the schoolmaster",
     "his sister",      "the young man",  "the stranger",   "Mr. Wilmot",     "the landlord",
     "her father",      "the boy",        "the priest",     "Margaret",       "the old woman",
     "Colonel Brand",   "the lieutenant", "the gardener",   "my companion",   "the farmer's wife",
     "little Tom",      "the widow",      "her eldest son", "the magistrate", "Miss Fenwick",
     "the carpenter",   "the merchant",   "John",           "the guide",      "his lordship",
     "the housekeeper", "Edward",         "the fisherman",  "the count",      "our host",
     "the servant",     "a tall soldier", "Lady Anne",      "the miller",     "the prisoner"});

constexpr auto kMoved = std::to_array<Words>(
    {"walked",          "went slowly", "came back",      "rode alone", "hurried",
     "had been sent",   "was carried", "passed quietly", "returned",   "wandered",
     "set out",         "ran",         "made his way",   "was seen",   "stood waiting",
     "sat for an hour", "remained",    "had once lived", "stopped",    "fell asleep"});

constexpr auto kPlaces = std::to_array<Words>({"by the river",
                                               "at the end of the garden",
                                               "along the narrow road",
                                               "before the great house",
                                               "near the church",
                                               "under the dark trees",
                                               "upon the hill",
                                               "in the little parlour",
                                               "across the open fields",
                                               "beside the fire",
                                               "through the empty streets",
                                               "at the edge of the wood",
                                               "on the deck of the ship",
                                               "in the market place",
                                               "behind the stable",
                                               "at the foot of the stairs",
                                               "over the old bridge",
                                               "between the high walls",
                                               "in the shadow of the door",
                                               "towards the harbour",
                                               "by the light of the moon",
                                               "among the rocks",
                                               "down the long passage",
                                               "at the window of the inn"});

constexpr auto kTimes = std::to_array<Words>({"That evening",
                                              "Early in the morning",
                                              "About this time",
                                              "After a few minutes",
                                              "In the month of October",
                                              "When the clock struck nine",
                                              "Some days later",
                                              "At last",
                                              "Before the sun had risen",
                                              "Towards midnight",
                                              "On the following day",
                                              "As soon as the rain was over",
                                              "For many years",
                                              "At the same moment",
                                              "While the others slept",
                                              "During the whole winter",
                                              "Not long afterwards",
                                              "Upon hearing these words",
                                              "When all was ready",
                                              "In the summer of that year",
                                              "Once more",
                                              "With a heavy heart",
                                              "Without another word",
                                              "To the surprise of everyone"});

constexpr auto kDeeds = std::to_array<Words>({"took up",
                                              "looked long at",
                                              "had forgotten",
                                              "laid down",
                                              "spoke of",
                                              "carried away",
                                              "remembered",
                                              "held out",
                                              "had never seen",
                                              "was thinking of",
                                              "asked for",
                                              "sold",
                                              "could not find",
                                              "left behind",
                                              "had brought",
                                              "pointed to",
                                              "hid",
                                              "examined",
                                              "admired",
                                              "had lost",
                                              "was very proud of",
                                              "threw aside",
                                              "paid for",
                                              "gathered up"});

constexpr auto kThings = std::to_array<Words>(
    {"the letter",         "an old coat",           "a basket of apples", "the broken lamp",
     "his father's watch", "the silver cup",        "a bundle of papers", "the black horse",
     "a piece of bread",   "the key of the cellar", "her wedding ring",   "a pair of boots",
     "the picture",        "a small wooden box",    "the last candle",    "a bottle of wine",
     "the sword",          "a heavy chain",         "the family Bible",   "a handful of coins",
     "the white dog",      "a map of the coast",    "the torn flag",      "a bunch of flowers",
     "the newspaper",      "a glass of water",      "the blue dress",     "an empty purse"});

constexpr auto kManners = std::to_array<Words>(
    {"with a smile", "in great haste", "without a sound", "as if in a dream",
     "with tears in her eyes", "in a low voice", "very gently", "like a man who is tired",
     "with all his strength", "for the last time", "to our great joy", "in perfect silence",
     "more than once", "with some difficulty", "as he had promised", "against her will"});

constexpr auto kScenes = std::to_array<Words>(
    {"The wind blew cold from the north", "It was a fine clear night",
     "The rain fell without ceasing", "The snow lay deep in the valley",
     "A thin mist hung over the water", "The sun was sinking behind the hills",
     "Everything was quiet in the house", "The leaves had begun to fall",
     "There was no light in the village", "The sea was smooth as glass",
     "A great fire burned in the hall", "The road was long and full of stones",
     "The bells had ceased to ring", "The whole town was in confusion",
     "The air was sweet with the smell of hay", "Dark clouds were gathering in the west"});

constexpr auto kThoughts = std::to_array<Words>(
    {"there was nothing more to be done", "the worst was already over",
     "no one would believe the story", "the journey could not be put off",
     "it was better to say nothing", "the house had been empty for years",
     "they should never meet again", "the money had been honestly paid",
     "a friend is known in time of need", "the doctor had been right after all",
     "the storm would not last till morning", "the truth must come out some day",
     "such a chance would not return", "the child was not to blame",
     "the ship had gone down with all hands", "it was too late to turn back"});

constexpr auto kBelieved = std::to_array<Words>(
    {"thought that", "was sure that", "had been told that", "felt that", "could not deny that",
     "began to see that", "often said that", "wrote to us that", "knew very well that",
     "was afraid that", "had hoped that", "replied that"});

constexpr auto kSpeeches = std::to_array<Words>(
    {"I have seen him only once", "You must not stay here any longer",
     "We shall know more tomorrow", "There is some mistake in this", "Give me your hand",
     "I never asked for your help", "It is the same with all of us",
     "Let us wait until the others come", "Nobody has lived there since the war",
     "My mother used to sing that song", "You are very kind", "The boat will be here before dark",
     "I should like to hear the rest", "What does it matter now", "Come in and shut the door",
     "He was a better man than I"});

constexpr auto kSaid = std::to_array<Words>({"said", "cried", "answered", "repeated", "whispered"});

constexpr auto kLinks =
    std::to_array<Words>({"and", "but", "while", "so that", "for", "because", "until", "and then"});

std::string join(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

std::string capitalised(std::string words) {
  if (!words.empty() && words[0] >= 'a' && words[0] <= 'z') {
    words[0] = static_cast<char>(words[0] - 'a' + 'A');
  }
  return words;
}

// "the captain walked by the river"
std::string moved(Dice& dice) {
  return join({dice.pick(kPersons), " ", dice.pick(kMoved), " ", dice.pick(kPlaces)});
}

// "my uncle took up the letter with a smile"
std::string acted(Dice& dice) {
  std::string clause = join({dice.pick(kPersons), " ", dice.pick(kDeeds), " ", dice.pick(kThings)});
  if (dice.one_in(2)) clause += join({" ", dice.pick(kManners)});
  return clause;
}

// "the boy felt that it was too late to turn back"
std::string thought(Dice& dice) {
  return join({dice.pick(kPersons), " ", dice.pick(kBelieved), " ", dice.pick(kThoughts)});
}

std::string clause(Dice& dice) {
  switch (dice.below(3)) {
    case 0:
      return moved(dice);
    case 1:
      return acted(dice);
    default:
      return thought(dice);
  }
}

std::string speech(Dice& dice) {
  std::string sentence =
      join({"\"", dice.pick(kSpeeches), ",\" ", dice.pick(kSaid), " ", dice.pick(kPersons)});
  if (dice.one_in(2)) sentence += join({" ", dice.pick(kManners)});
  return sentence;
}

}  // namespace

// In a braced list the choices are made from left to right on every compiler; between the operands
// of an operator they need not be.
std::string make_sentence(Dice& dice) {
  const std::string link = join({", ", dice.pick(kLinks), " "});
  switch (dice.below(6)) {
    case 0:
      return join({dice.pick(kTimes), " ", clause(dice), "."});
    case 1:
      return join({dice.pick(kScenes), link, clause(dice), "."});
    case 2:
      return join({capitalised(clause(dice)), link, clause(dice), "."});
    case 3:
      return join({speech(dice), "."});
    case 4:
      return join({dice.pick(kTimes), ", ", clause(dice), link, clause(dice), "."});
    default:
      return join({capitalised(clause(dice)), "."});
  }
}

std::string with_space(std::string sentence, size_t index) {
  constexpr size_t kSentencesPerParagraph = 6;
  if (index == 0) return sentence;
  return (index % kSentencesPerParagraph == 0 ? "\n" : " ") + std::move(sentence);
}

}  // namespace shadowattn::tool
