#include "eval/phone_functions.h"

#include <array>
#include <nlohmann/json.hpp>

namespace shadowattn::tool::eval {
namespace {

using Json = nlohmann::ordered_json;
using Words = const std::string_view[];

constexpr Words kTimes = {"06:15", "07:30", "08:45", "10:20", "12:50", "15:05", "18:40", "21:10"};
constexpr Words kDays = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
constexpr Words kWords = {"garden", "river",  "winter", "silver", "market", "castle",
                          "music",  "window", "summer", "letter", "horse",  "paper"};
constexpr Words kPeople = {"Anna", "Ben", "Clara", "David", "Emma", "Frank", "Maria", "Peter"};
constexpr Words kPlaces = {"Paris", "London", "Rome", "Vienna", "Madrid", "Dublin", "Boston"};
constexpr Words kLengths = {"5 minutes", "20 minutes", "45 minutes", "2 hours", "3 hours"};
constexpr Words kSums = {"12 dollars", "35 dollars", "80 dollars", "150 dollars"};
constexpr Words kYears = {"2011", "2014", "2017", "2019", "2021", "2023", "2024"};
constexpr Words kTopics = {"work", "school", "family", "travel", "sports", "cooking", "history"};
constexpr Words kCodes = {"1942", "2750", "3618", "4307", "5896", "6021", "7483"};
constexpr Words kFolders = {"home", "office", "friends", "later", "old", "private", "shared"};

constexpr Argument kTime = {"time", "time of day, with a colon", "at", kTimes};
constexpr Argument kDay = {"day", "day of the week", "on", kDays};
constexpr Argument kLabel = {"label", "the word it is known by", "called", kWords};
constexpr Argument kPerson = {"person", "first name of a contact", "with", kPeople};
constexpr Argument kPlace = {"place", "name of a town", "in", kPlaces};
constexpr Argument kLength = {"length", "how long it lasts, with the unit", "of", kLengths};
constexpr Argument kSum = {"sum", "how much money, with the currency", "over", kSums};
constexpr Argument kYear = {"year", "four digits", "from", kYears};
constexpr Argument kTopic = {"topic", "what it is about", "about", kTopics};
constexpr Argument kReceiver = {"receiver", "contact who gets it", "to", kPeople};
constexpr Argument kNewName = {"new_name", "the word it is to be known by", "into", kWords};
constexpr Argument kFolder = {"folder", "where it goes", "into the folder", kFolders};
constexpr Argument kCode = {"code", "four digits that open it", "by the code", kCodes};

struct Action {
  std::string_view name;
  std::string_view does;     // the beginning of a description, before the thing
  std::string_view request;  // the beginning of a request, before the thing
  const Argument* needs;     // besides what tells which thing is meant; may be null
};

constexpr Action kActions[] = {
    {"create", "Makes a new", "Set up a new", nullptr},
    {"delete", "Removes for good the", "Get rid of the", nullptr},
    {"find", "Searches for the", "Look up the", nullptr},
    {"open", "Shows on the screen the", "Let me see the", nullptr},
    {"copy", "Makes a second one like the", "Duplicate the", nullptr},
    {"pin", "Keeps at the top of the screen the", "Always show first the", nullptr},
    {"share", "Sends to another phone the", "Pass on the", &kReceiver},
    {"rename", "Gives another name to the", "Change the name of the", &kNewName},
    {"move", "Puts somewhere else the", "File the", &kFolder},
    {"lock", "Protects from strangers the", "Secure the", &kCode},
};

struct Thing {
  std::string_view name;
  std::string_view app;
  std::array<const Argument*, 2> arguments;
};

constexpr Thing kThings[] = {
    {"alarm", "clock", {&kTime, &kLabel}},       {"timer", "clock", {&kLength, &kLabel}},
    {"reminder", "clock", {&kDay, &kTopic}},     {"event", "calendar", {&kDay, &kPlace}},
    {"meeting", "calendar", {&kPerson, &kDay}},  {"birthday", "calendar", {&kPerson, &kYear}},
    {"note", "notes", {&kLabel, &kTopic}},       {"checklist", "notes", {&kDay, &kLabel}},
    {"sketch", "notes", {&kYear, &kLabel}},      {"contact", "contacts", {&kLabel, &kPlace}},
    {"message", "messages", {&kPerson, &kTime}}, {"email", "mail", {&kPerson, &kTopic}},
    {"draft", "mail", {&kTopic, &kDay}},         {"photo", "gallery", {&kPlace, &kYear}},
    {"album", "gallery", {&kLabel, &kYear}},     {"video", "gallery", {&kLength, &kPlace}},
    {"song", "music", {&kLabel, &kLength}},      {"playlist", "music", {&kTopic, &kLength}},
    {"podcast", "music", {&kTopic, &kYear}},     {"book", "library", {&kTopic, &kPlace}},
    {"route", "maps", {&kPlace, &kLength}},      {"trip", "travel", {&kPlace, &kDay}},
    {"ticket", "travel", {&kTime, &kPlace}},     {"hotel", "travel", {&kPlace, &kSum}},
    {"payment", "bank", {&kSum, &kPerson}},      {"invoice", "bank", {&kSum, &kDay}},
    {"recipe", "kitchen", {&kLabel, &kLength}},  {"order", "shop", {&kSum, &kLabel}},
    {"parcel", "shop", {&kPlace, &kTime}},       {"workout", "health", {&kDay, &kLength}},
    {"meal", "health", {&kTime, &kTopic}},       {"habit", "health", {&kLabel, &kTime}},
};

PhoneFunction make_function(const Action& action, const Thing& thing) {
  const std::string name(thing.name);
  PhoneFunction function;
  function.name = std::string(action.name) + "_" + name;
  function.description =
      std::string(action.does) + " " + name + " in the " + std::string(thing.app) + " app.";
  function.request = std::string(action.request) + " " + name;
  function.arguments.assign(thing.arguments.begin(), thing.arguments.end());
  if (action.needs != nullptr) function.arguments.push_back(action.needs);
  return function;
}

}  // namespace

std::vector<PhoneFunction> phone_functions() {
  std::vector<PhoneFunction> functions;
  for (const Thing& thing : kThings) {
    for (const Action& action : kActions) functions.push_back(make_function(action, thing));
  }
  return functions;
}

std::string description_json(const PhoneFunction& function) {
  Json arguments = Json::object();
  for (const Argument* argument : function.arguments) {
    arguments[std::string(argument->name)] = argument->description;
  }
  return Json{{"name", function.name},
              {"description", function.description},
              {"arguments", std::move(arguments)}}
      .dump();
}

Call make_call(const PhoneFunction& function, Dice& dice) {
  Call call{&function, {}};
  for (const Argument* argument : function.arguments) {
    call.values.push_back(dice.pick(argument->values));
  }
  return call;
}

std::string request_text(const Call& call) {
  std::string text = call.function->request;
  for (size_t i = 0; i < call.values.size(); ++i) {
    text.append(" ").append(call.function->arguments[i]->preposition);
    text.append(" ").append(call.values[i]);
  }
  return text + ".";
}

std::string call_json(const Call& call) {
  Json arguments = Json::object();
  for (size_t i = 0; i < call.values.size(); ++i) {
    arguments[std::string(call.function->arguments[i]->name)] = call.values[i];
  }
  return Json{{"name", call.function->name}, {"arguments", std::move(arguments)}}.dump();
}

}  // namespace shadowattn::tool::eval
