// The functions of a made-up phone, what people ask of them, and the calls that do it. Each is an
// action (create, delete, share …) on a thing (alarm, photo, ticket …); requests say the action in
// other words than the function's name does.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/prose.h"

namespace shadowattn::tool::eval {

struct Argument {
  std::string_view name;
  std::string_view description;
  std::string_view preposition;  ///< before the value in a request
  std::span<const std::string_view> values;
};

struct PhoneFunction {
  std::string name;                        ///< "create_alarm"; none is the beginning of another
  std::string description;                 ///< "Makes a new alarm in the clock app."
  std::string request;                     ///< how a request begins: "Set up a new alarm"
  std::vector<const Argument*> arguments;  ///< all are to be given, in this order
};

/// All functions, always in the same order.
std::vector<PhoneFunction> phone_functions();

/// Name, description and arguments as one line of JSON.
std::string description_json(const PhoneFunction& function);

/// A function and a value for each of its arguments.
struct Call {
  const PhoneFunction* function = nullptr;
  std::vector<std::string_view> values;
};

Call make_call(const PhoneFunction& function, Dice& dice);

/// "Set up a new alarm at 07:30 called garden."
std::string request_text(const Call& call);

/// {"name":"create_alarm","arguments":{"time":"07:30","label":"garden"}}
std::string call_json(const Call& call);

}  // namespace shadowattn::tool::eval
