#include "eval/ask.h"

#include <algorithm>
#include <numeric>

#include "common/failure.h"
#include "common/progress.h"
#include "common/text.h"
#include "eval/likelihood.h"
#include "eval/ranks.h"

namespace shadowattn::tool::eval {
namespace {

using Tokens = std::vector<llama_token>;

struct TokenQuestion {
  Tokens text;
  Tokens expected;
  std::vector<Tokens> candidates;  // the expected one first
};

struct TokenPrompt {
  Tokens text;
  std::vector<TokenQuestion> questions;
};

void append(Tokens& tokens, const Tokens& more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

TokenQuestion tokenize(const LlamaModel& model, const Question& question,
                       const PromptTemplate& chat) {
  // A chat template brings the white space itself.
  const std::string space = chat.chat ? "" : question.space;
  TokenQuestion tokens;
  tokens.text = model.tokenize(question.text);
  append(tokens.text, model.tokenize_control(chat.after));
  tokens.expected = model.tokenize(space + question.expected);
  if (question.candidates.empty()) return tokens;
  tokens.candidates = {tokens.expected};
  for (const std::string& candidate : question.candidates) {
    if (candidate != question.expected) {
      tokens.candidates.push_back(model.tokenize(space + candidate));
    }
  }
  return tokens;
}

TokenPrompt tokenize(const LlamaModel& model, const Prompt& prompt, const PromptTemplate& chat) {
  TokenPrompt tokens;
  tokens.text = model.start_tokens();
  append(tokens.text, model.tokenize_control(chat.before));
  append(tokens.text, model.tokenize(prompt.text));
  for (const Question& question : prompt.questions) {
    tokens.questions.push_back(tokenize(model, question, chat));
  }
  return tokens;
}

int64_t most_tokens(const std::vector<Prompt>& prompts, const std::vector<TokenPrompt>& tokens) {
  size_t most = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    for (size_t k = 0; k < prompts[i].questions.size(); ++k) {
      const TokenQuestion& question = tokens[i].questions[k];
      size_t answer = std::max(static_cast<size_t>(prompts[i].questions[k].answer_tokens),
                               question.expected.size());
      for (const Tokens& candidate : question.candidates) {
        answer = std::max(answer, candidate.size());
      }
      most = std::max(most, tokens[i].text.size() + question.text.size() + answer);
    }
  }
  return static_cast<int64_t>(most);
}

class Reader {
 public:
  Reader(const Workplace& workplace, const std::vector<Prompt>& prompts, const PromptTemplate& chat,
         size_t methods)
      : workplace_(workplace), prompts_(prompts), progress_("", 1, "tokens") {
    int64_t total = 0;
    for (const Prompt& prompt : prompts) {
      tokens_.push_back(tokenize(workplace.model, prompt, chat));
      total += static_cast<int64_t>(tokens_.back().text.size());
    }
    progress_.set_total(total * static_cast<int64_t>(methods));
    context_tokens_ = most_tokens(prompts_, tokens_);
    const int64_t limit = workplace.model.train_context();
    if (context_tokens_ <= limit) return;
    throw Failure("text, question and answer need " + format_count(context_tokens_) +
                  " tokens, but the model's context has " + format_count(limit) +
                  "; give a smaller -c");
  }

  MethodAnswers read(const Method& method) {
    MethodAnswers result;
    result.method = method;
    progress_.set_label(method.name);
    MethodContext context(workplace_, method, context_tokens_);
    for (size_t i = 0; i < prompts_.size(); ++i) {
      context.truncate(0);
      read_text(context, tokens_[i].text);
      for (size_t k = 0; k < prompts_[i].questions.size(); ++k) {
        answer_question(context, i, k, &result);
      }
    }
    result.right_share /= static_cast<double>(std::max<size_t>(result.right.size(), 1));
    result.kept = context.kept_share();
    result.seconds = context.seconds();
    return result;
  }

 private:
  void read_text(MethodContext& context, const Tokens& text) {
    const auto step = static_cast<size_t>(workplace_.ubatch);
    for (size_t start = 0; start < text.size(); start += step) {
      const size_t count = std::min(step, text.size() - start);
      context.append(std::span(text).subspan(start, count));
      done_ += static_cast<int64_t>(count);
      progress_.update(done_);
    }
  }

  // Question `index` of a prompt whose text has been read.
  void answer_question(MethodContext& context, size_t prompt, size_t index, MethodAnswers* result) {
    const Question& question = prompts_[prompt].questions[index];
    const TokenQuestion& tokens = tokens_[prompt].questions[index];
    const auto start = static_cast<int64_t>(tokens_[prompt].text.size());
    context.truncate(start);
    context.append(tokens.text);
    const std::string text = answer(context, question);
    result->right.push_back(is_right(question, text));
    result->right_share += right_share(question, text);
    result->answers.push_back(text);
    result->nlls.push_back(nll(context, start, tokens.text, tokens.expected) /
                           static_cast<double>(tokens.expected.size()));
    std::vector<double> candidates;
    for (const Tokens& candidate : tokens.candidates) {
      candidates.push_back(nll(context, start, tokens.text, candidate));
    }
    result->ranks.push_back(rank_of_first(candidates));
  }

  std::string answer(MethodContext& context, const Question& question) {
    std::string text;
    for (int count = 0; count < question.answer_tokens; ++count) {
      llama_token token = sampler_.sample(context.llama());
      if (workplace_.model.ends_answer(token)) break;
      text += workplace_.model.piece(token);
      if (is_settled(question, text)) break;
      context.append({&token, 1});
    }
    return text;
  }

  // Of a continuation of the question that stands at `start`; the question has been read, and its
  // last token is read again.
  double nll(MethodContext& context, int64_t start, const Tokens& question,
             const Tokens& continuation) {
    context.truncate(start + static_cast<int64_t>(question.size()) - 1);
    return continuation_nll(context, workplace_.ubatch, question.back(), continuation);
  }

  const Workplace& workplace_;
  const std::vector<Prompt>& prompts_;
  std::vector<TokenPrompt> tokens_;
  int64_t context_tokens_ = 0;
  Sampler sampler_{0, 0};
  Progress progress_;
  int64_t done_ = 0;
};

}  // namespace

Flips flips(const std::vector<bool>& reference, const std::vector<bool>& method) {
  Flips result;
  for (size_t i = 0; i < std::min(reference.size(), method.size()); ++i) {
    if (reference[i] && !method[i]) result.losses.push_back(i);
    if (!reference[i] && method[i]) result.gains.push_back(i);
  }
  return result;
}

double accuracy(const std::vector<bool>& right) {
  if (right.empty()) return 0;
  return static_cast<double>(std::count(right.begin(), right.end(), true)) /
         static_cast<double>(right.size());
}

double answer_nll(const MethodAnswers& answers) {
  const double sum = std::accumulate(answers.nlls.begin(), answers.nlls.end(), 0.0);
  return answers.nlls.empty() ? 0 : sum / static_cast<double>(answers.nlls.size());
}

std::vector<MethodAnswers> ask(const Workplace& workplace, const std::vector<Method>& methods,
                               const std::vector<Prompt>& prompts, const PromptTemplate& chat) {
  Reader reader(workplace, prompts, chat, methods.size());
  std::vector<MethodAnswers> results;
  for (const Method& method : methods) results.push_back(reader.read(method));
  return results;
}

}  // namespace shadowattn::tool::eval
