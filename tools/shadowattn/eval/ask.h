// Reads prompts and asks their questions, by every method in turn.
#pragma once

#include <string>
#include <vector>

#include "eval/tasks.h"
#include "eval/workplace.h"

namespace shadowattn::tool::eval {

struct MethodAnswers {
  Method method;
  std::vector<std::string> answers;  ///< one per question, in the order of prompts and questions
  std::vector<bool> right;
  double right_share = 0;  ///< mean of what right_share says of each answer
  /// Of each expected answer, teacher-forced, whatever the greedy one is: -ln p in nats per token.
  std::vector<double> nlls;
  /// Of each expected answer among its question's candidates by likelihood, 1 the best; 0 for none.
  std::vector<int> ranks;
  double kept = 1;  ///< share of (row, token) pairs, over prompts, questions and answers
  double seconds = 0;
};

/// Questions right by one method and wrong by another, as numbers of questions.
struct Flips {
  std::vector<size_t> losses;  ///< right by the reference, wrong by the method
  std::vector<size_t> gains;   ///< the other way
};
Flips flips(const std::vector<bool>& reference, const std::vector<bool>& method);

/// Share of the questions that are right; 0 for none.
double accuracy(const std::vector<bool>& right);

/// Mean of the answers' nats per token; 0 for none.
double answer_nll(const MethodAnswers& answers);

/// Greedy answers and likelihoods of the expected ones. Every method reads every prompt itself.
/// Throws Failure, also on Ctrl-C.
std::vector<MethodAnswers> ask(const Workplace& workplace, const std::vector<Method>& methods,
                               const std::vector<Prompt>& prompts, const PromptTemplate& chat);

}  // namespace shadowattn::tool::eval
