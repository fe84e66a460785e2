// Functions of a phone described in JSON, solved examples, then a request: which function does it
// ("select"), or the call with its arguments ("step").
#include <algorithm>

#include "eval/phone_functions.h"
#include "eval/task_parts.h"

namespace shadowattn::tool::eval {
namespace {

constexpr size_t kPerPrompt = 5;  // questions, and solved examples
constexpr size_t kMostCandidates = 20;
constexpr int kSpareTokens = 8;       // behind an answer as long as the expected one
constexpr int kChatSpareTokens = 48;  // for a sentence before it

constexpr char kIntroduction[] = "These are the functions of a phone.\n";

enum class Form { kSelect, kStep };

std::string answer_text(const Call& call, Form form) {
  return form == Form::kSelect ? call.function->name : call_json(call);
}

std::string request_line(const Call& call, Form form) {
  return "\n\nRequest: " + request_text(call) + (form == Form::kSelect ? "\nFunction:" : "\nCall:");
}

std::string example_text(const Call& call, Form form) {
  return request_line(call, form) + " " + answer_text(call, form);
}

std::string chat_text(const Call& call, Form form) {
  return "\n\nRequest: " + request_text(call) +
         (form == Form::kSelect ? " Which function does this? Answer with its name alone."
                                : " Answer with the call alone, in JSON as above.");
}

/// What a prompt lists: descriptions, in order, and what is asked and solved.
struct Phone {
  std::vector<const PhoneFunction*> listed;
  std::vector<const PhoneFunction*> asked;  // these are listed too
  std::string examples;                     // of other functions that are listed
};

// The functions are taken in turns to be asked about and to be an example, so that short prompts
// have some of both; what is left of `tokens` goes to functions that are only listed.
Phone fill_phone(const std::vector<PhoneFunction>& all, size_t questions, Form form, int64_t tokens,
                 Dice& dice, const TokenCounter& count_tokens) {
  std::vector<const PhoneFunction*> order;
  for (const PhoneFunction& function : all) order.push_back(&function);
  shuffle(order, dice);
  Phone phone;
  size_t examples = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const bool is_example = i % 2 == 1 && examples < kPerPrompt;
    const std::string example =
        is_example ? example_text(make_call(*order[i], dice), form) : std::string();
    tokens -= count_tokens(description_json(*order[i]) + "\n") + count_tokens(example);
    if (tokens < 0 && i > 1) break;
    phone.examples += example;
    examples += is_example ? 1 : 0;
    const bool is_asked = i % 2 == 0 && phone.asked.size() < questions;
    (is_asked ? phone.asked : phone.listed).push_back(order[i]);
  }
  return phone;
}

// The right name, and others that are listed.
std::vector<std::string> candidates(const Phone& phone, const PhoneFunction& right, Dice& dice) {
  std::vector<const PhoneFunction*> others = phone.listed;
  std::erase(others, &right);
  shuffle(others, dice);
  others.resize(std::min(others.size(), kMostCandidates - 1));
  std::vector<std::string> names = {right.name};
  for (const PhoneFunction* other : others) names.push_back(other->name);
  return names;
}

Question question_about(const Phone& phone, const PhoneFunction& function, Form form, bool chat,
                        Dice& dice, const TokenCounter& count_tokens) {
  const Call call = make_call(function, dice);
  Question question;
  question.text = chat ? chat_text(call, form) : request_line(call, form);
  question.expected = answer_text(call, form);
  question.answer_tokens =
      static_cast<int>(count_tokens(question.expected)) + (chat ? kChatSpareTokens : kSpareTokens);
  if (form == Form::kStep) {
    question.group = "step";
    question.match = Match::kJson;
    return question;
  }
  question.group = "select";
  question.match = chat ? Match::kContains : Match::kFirstWord;
  question.candidates = candidates(phone, function, dice);
  return question;
}

Prompt make_prompt(const std::vector<PhoneFunction>& all, size_t questions, Form form,
                   const TaskOptions& options, Dice& dice, const TokenCounter& count_tokens) {
  Prompt prompt;
  prompt.length = options.context;
  prompt.text = kIntroduction;
  const int64_t tokens = options.context - kQuestionTokens - count_tokens(prompt.text);
  Phone phone = fill_phone(all, questions, form, tokens, dice, count_tokens);
  // The functions that are asked about stand at even distances; from the last on, so that places
  // before stay what they are.
  std::vector<double> depths;
  const size_t others = phone.listed.size();
  for (size_t i = phone.asked.size(); i > 0; --i) {
    const double depth = (static_cast<double>(i) - 0.5) / static_cast<double>(phone.asked.size());
    depths.insert(depths.begin(), depth);
    const auto place = static_cast<std::ptrdiff_t>(depth * static_cast<double>(others));
    phone.listed.insert(phone.listed.begin() + place, phone.asked[i - 1]);
  }
  for (const PhoneFunction* function : phone.listed) {
    prompt.text += description_json(*function) + "\n";
  }
  prompt.text += phone.examples;
  for (size_t i = 0; i < phone.asked.size(); ++i) {
    prompt.questions.push_back(
        question_about(phone, *phone.asked[i], form, options.chat, dice, count_tokens));
    prompt.questions.back().depth = depths[i];
  }
  return prompt;
}

}  // namespace

// Half of the questions in each form.
std::vector<Prompt> make_calls(const TaskOptions& options, const TokenCounter& count_tokens) {
  const std::vector<PhoneFunction> all = phone_functions();
  Dice dice(options.seed);
  std::vector<Prompt> prompts;
  const auto total = static_cast<size_t>(options.trials);
  for (const Form form : {Form::kSelect, Form::kStep}) {
    for (size_t left = form == Form::kSelect ? (total + 1) / 2 : total / 2; left > 0;) {
      prompts.push_back(
          make_prompt(all, std::min(left, kPerPrompt), form, options, dice, count_tokens));
      left -= prompts.back().questions.size();
    }
  }
  return prompts;
}

}  // namespace shadowattn::tool::eval
