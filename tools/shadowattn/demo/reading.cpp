#include "demo/reading.h"

#include <algorithm>
#include <memory>

#include "common/failure.h"
#include "common/progress.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace {

using eval::MethodContext;
using Tokens = std::span<const llama_token>;

constexpr size_t kScoredTokens = 1024;
constexpr size_t kScoredShare = 4;  // at most one in so many of the prefix

void append(std::vector<llama_token>& tokens, const std::vector<llama_token>& more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

std::vector<llama_token> question_tokens(const LlamaModel& model, const PromptTemplate& chat,
                                         const Question& question) {
  if (!chat.chat) {  // a text to be continued
    return model.tokenize("\n\n" + (question.start.empty() ? question.text : question.start));
  }
  std::vector<llama_token> tokens = model.tokenize("\n\n" + question.text);
  append(tokens, model.tokenize_control(chat.after));
  append(tokens, model.tokenize(question.start));
  return tokens;
}

size_t longest(const std::vector<std::vector<llama_token>>& questions) {
  size_t most = 0;
  for (const auto& question : questions) most = std::max(most, question.size());
  return most;
}

std::vector<Question> asked(const ReadingOptions& options, const std::string& text) {
  if (options.prompts.empty()) {
    std::vector<Question> known = known_questions(text);
    return known.empty() ? quotations(text, options.quotations) : known;
  }
  std::vector<Question> questions;
  for (const std::string& prompt : options.prompts) questions.push_back({prompt, "", ""});
  return questions;
}

// Text of tokens; the last may end in the middle of a character.
std::string text_of(const LlamaModel& model, Tokens tokens) {
  std::string text;
  for (const llama_token token : tokens) text += model.piece(token);
  return repair_utf8(text).text;
}

// Reads with several contexts in turns.
class Reader {
 public:
  Reader(const eval::Workplace& workplace, int answer_tokens, DemoResult& result)
      : workplace_(workplace),
        answer_tokens_(answer_tokens),
        result_(result),
        reading_(result.reading),
        prefix_(reading_.prefix),
        scored_(std::min(kScoredTokens, prefix_.size() / kScoredShare)),
        progress_("", total_work(), "tokens") {
    for (const Side& side : result.sides) {
      contexts_.push_back(std::make_unique<MethodContext>(workplace, side.method, room()));
    }
  }

  void warm_up() {
    for (const auto& context : contexts_) {
      context->append(prefix_.first(std::min(step(), prefix_.size())));
      context->truncate(0);
    }
  }

  void read() {
    progress_.set_label("reading with each attention in turns");
    const MachineLoad load;
    bool forwards = true;
    for (size_t at = 0; at < prefix_.size(); at += step()) {
      const Tokens chunk = prefix_.subspan(at, std::min(step(), prefix_.size() - at));
      for (size_t turn = 0; turn < contexts_.size(); ++turn) {
        const size_t index = forwards ? turn : contexts_.size() - 1 - turn;
        result_.sides[index].chunk_seconds.push_back(timed(*contexts_[index], chunk));
        advance(chunk.size());
      }
      forwards = !forwards;
    }
    result_.other_load = load.others();
    for (size_t i = 0; i < contexts_.size(); ++i)
      result_.sides[i].kept = contexts_[i]->kept_share();
  }

  void answer() {
    progress_.set_label("answering");
    for (size_t i = 0; i < contexts_.size(); ++i) {
      Side& side = result_.sides[i];
      MethodContext& context = *contexts_[i];
      for (size_t q = 0; q < reading_.questions.size(); ++q) {
        context.truncate(static_cast<int64_t>(prefix_.size()));
        const double seconds = timed(context, reading_.question_tokens[q]);
        if (q == 0) {
          side.first_token_seconds = seconds;
          for (const double chunk : side.chunk_seconds) side.first_token_seconds += chunk;
        }
        side.answers.push_back(answer_to(context, reading_.questions[q]));
      }
    }
  }

  void score() {
    progress_.set_label("dense attention in f32, to compare with");
    const size_t before = prefix_.size() - scored_;
    MethodContext reference(workplace_, reference_method(), room());
    for (size_t at = 0; at < before; at += step()) {
      const Tokens chunk = prefix_.subspan(at, std::min(step(), before - at));
      reference.append(chunk);
      advance(chunk.size());
    }
    progress_.set_label("comparing probabilities");
    for (const auto& context : contexts_) context->truncate(static_cast<int64_t>(before));
    std::vector<std::vector<eval::TokenComparison>> compared(contexts_.size());
    for (size_t at = before; at < prefix_.size(); at += step()) {
      const size_t count = std::min(step(), prefix_.size() - at);
      score_chunk(reference, at, count, compared);
    }
    result_.scored_tokens = static_cast<int64_t>(compared.front().size());
    for (size_t i = 0; i < contexts_.size(); ++i) {
      result_.sides[i].distance = eval::kld_statistics(compared[i]);
    }
  }

 private:
  size_t step() const { return static_cast<size_t>(workplace_.ubatch); }
  int64_t room() const {
    return static_cast<int64_t>(prefix_.size() + longest(reading_.question_tokens)) +
           answer_tokens_;
  }
  int64_t total_work() const {
    const size_t sides = result_.sides.size();
    return static_cast<int64_t>((sides + 1) * prefix_.size() + sides * scored_);
  }

  eval::Method reference_method() const {
    eval::Method method = result_.sides.back().method;
    method.name = eval::kReference;
    method.config.engine.mode = Mode::kDense;
    method.config.engine.precision = Precision::kF32;
    return method;
  }

  void advance(size_t tokens) { progress_.update(done_ += static_cast<int64_t>(tokens)); }

  static double timed(MethodContext& context, Tokens tokens) {
    const double before = context.seconds();
    context.append(tokens);
    return context.seconds() - before;
  }

  std::string answer_to(MethodContext& context, const Question& question) const {
    std::string text;
    for (int count = 0; count < answer_tokens_; ++count) {
      llama_token token = sampler_.sample(context.llama());
      if (workplace_.model.ends_answer(token)) break;
      text += workplace_.model.piece(token);
      // A quotation ends with its sentence.
      if (!question.start.empty() && text.find_first_of(".\n") != std::string::npos) break;
      context.append({&token, 1});
    }
    return one_line(repair_utf8(text).text);
  }

  void score_chunk(MethodContext& reference, size_t at, size_t count,
                   std::vector<std::vector<eval::TokenComparison>>& compared) {
    const Tokens chunk = prefix_.subspan(at, count);
    reference.append_scored(chunk, 0);
    advance(count);
    // The last token has no successor in the text.
    const size_t last = std::min(at + count, prefix_.size() - 1) - at;
    for (size_t i = 0; i < contexts_.size(); ++i) {
      contexts_[i]->append_scored(chunk, 0);
      for (size_t row = 0; row < last; ++row) {
        compared[i].push_back(eval::compare_logits(reference.llama().logits(row),
                                                   contexts_[i]->llama().logits(row),
                                                   static_cast<size_t>(prefix_[at + row + 1])));
      }
      advance(count);
    }
  }

  const eval::Workplace& workplace_;
  int answer_tokens_;
  DemoResult& result_;
  const Reading& reading_;
  Tokens prefix_;
  size_t scored_;
  Progress progress_;
  int64_t done_ = 0;
  Sampler sampler_{0, 0};
  std::vector<std::unique_ptr<MethodContext>> contexts_;
};

}  // namespace

Reading make_reading(const LlamaModel& model, const std::string& text,
                     const ReadingOptions& options) {
  const PromptTemplate chat = model.prompt_template();
  Reading reading;
  reading.document = options.document;
  reading.chat = chat.chat;
  reading.prefix = model.start_tokens();
  append(reading.prefix, model.tokenize_control(chat.before));
  const std::vector<llama_token> document = model.tokenize(text);
  // Which quotations are asked for depends on how much is read, and that on how long the questions
  // are; some room for them is enough.
  constexpr int64_t kQuestionTokens = 96;
  int64_t question = kQuestionTokens;
  for (const Question& one : asked(options, "")) {
    const auto length = static_cast<int64_t>(question_tokens(model, chat, one).size());
    question = std::max(question, length);
  }
  const int64_t room = std::min(options.tokens, model.train_context()) - options.answer_tokens -
                       question - static_cast<int64_t>(reading.prefix.size());
  if (room < 1) {
    throw Failure("question and answer leave no room for the document in a context of " +
                  format_count(std::min(options.tokens, model.train_context())) + " tokens");
  }
  const auto count = std::min(document.size(), static_cast<size_t>(room));
  const Tokens read = Tokens(document).first(count);
  reading.prefix.insert(reading.prefix.end(), read.begin(), read.end());
  reading.text = text_of(model, read);
  reading.questions = asked(options, reading.text);
  for (const Question& one : reading.questions) {
    reading.question_tokens.push_back(question_tokens(model, chat, one));
  }
  if (reading.questions.empty()) {
    throw Failure("no sentence of the text serves as a question; ask something with -p");
  }
  return reading;
}

void read_side_by_side(const eval::Workplace& workplace, int answer_tokens, DemoResult& result) {
  Reader reader(workplace, answer_tokens, result);
  reader.warm_up();
  reader.read();
  reader.answer();
  reader.score();
}

}  // namespace shadowattn::tool
