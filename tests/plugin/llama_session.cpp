#include "llama_session.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <random>
#include <stdexcept>

#include "plugin_host.h"

namespace shadowattn::plugin_test {
namespace {

constexpr int kThreads = 2;

llama_model* load() {
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  plugin();
  const std::string path = model_path();
  llama_model* loaded = llama_model_load_from_file(path.c_str(), llama_model_default_params());
  if (loaded == nullptr) throw std::runtime_error("cannot load " + path);
  return loaded;
}

llama_context* make_context(const Context::Options& options) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = options.cells;
  params.n_batch = options.cells;
  params.n_seq_max = options.sequences;
  params.kv_unified = options.unified;
  params.flash_attn_type = options.flash_attn;
  params.n_threads = kThreads;
  params.n_threads_batch = kThreads;
  params.type_k = options.cache_type;
  params.type_v = options.cache_type;
  params.offload_kqv = true;
  llama_context* context = llama_init_from_model(model(), params);
  if (context == nullptr) throw std::runtime_error("llama_init_from_model failed");
  return context;
}

void add(llama_batch& batch, llama_token token, llama_pos position, llama_seq_id sequence,
         bool wants_logits) {
  const int32_t i = batch.n_tokens++;
  batch.token[i] = token;
  batch.pos[i] = position;
  batch.n_seq_id[i] = 1;
  batch.seq_id[i][0] = sequence;
  batch.logits[i] = wants_logits ? 1 : 0;
}

struct Place {
  size_t part = 0;
  size_t token = 0;
};

std::vector<Place> places(const std::vector<Part>& parts, Order order) {
  std::vector<Place> result;
  for (size_t part = 0; part < parts.size(); ++part) {
    for (size_t i = 0; i < parts[part].tokens.size(); ++i) result.push_back({part, i});
  }
  if (order == Order::kByTurns) {
    std::stable_sort(result.begin(), result.end(),
                     [](const Place& a, const Place& b) { return a.token < b.token; });
  }
  return result;
}

}  // namespace

llama_model* model() {
  static llama_model* const loaded = load();
  return loaded;
}

Tokens tokenize(const std::string& text) {
  Tokens tokens(text.size() + 8);
  const int count =
      llama_tokenize(llama_model_get_vocab(model()), text.data(), static_cast<int32_t>(text.size()),
                     tokens.data(), static_cast<int32_t>(tokens.size()), true, false);
  if (count <= 0) throw std::runtime_error("llama_tokenize failed");
  tokens.resize(static_cast<size_t>(count));
  return tokens;
}

Tokens make_prompt(int words, unsigned seed, const std::string& fact, const std::string& question) {
  static constexpr const char* kWords[] = {
      "the",  "of",   "and",   "to",    "in",    "he",   "was",  "that", "his",  "it",   "with",
      "as",   "had",  "for",   "at",    "on",    "is",   "be",   "by",   "not",  "but",  "from",
      "they", "were", "which", "all",   "this",  "have", "said", "one",  "no",   "so",   "her",
      "boat", "hill", "water", "night", "house", "men",  "day",  "road", "wind", "time", "hand"};
  std::mt19937 random(seed);
  std::string text;
  for (int i = 0; i < words; ++i) {
    if (i == words / 2) text += " " + fact;
    text += std::string(" ") + kWords[random() % std::size(kWords)];
    if (random() % 12 == 0) text += ".";
  }
  text += " " + question;
  return tokenize(text);
}

Context::Context(const Options& options) : context_(make_context(options), llama_free) {}

std::vector<std::vector<float>> Context::decode(const std::vector<Part>& parts) {
  std::vector<std::vector<float>> logits;
  for (Rows& rows : decode_rows(parts, 1)) logits.push_back(std::move(rows[0]));
  return logits;
}

std::vector<Rows> Context::decode_rows(const std::vector<Part>& parts, size_t rows, Order order) {
  const std::vector<Place> batch_places = places(parts, order);
  llama_batch batch = llama_batch_init(static_cast<int32_t>(batch_places.size()), 0, 1);
  for (const Place& place : batch_places) {
    const Part& part = parts[place.part];
    add(batch, part.tokens[place.token], part.position + static_cast<llama_pos>(place.token),
        part.sequence, place.token + rows >= part.tokens.size());
  }
  const int result = llama_decode(context_.get(), batch);
  llama_batch_free(batch);
  if (result != 0) throw std::runtime_error("llama_decode: " + std::to_string(result));
  const auto size = llama_vocab_n_tokens(llama_model_get_vocab(model()));
  std::vector<Rows> logits(parts.size());
  for (size_t i = 0; i < batch_places.size(); ++i) {
    const Place& place = batch_places[i];
    if (place.token + rows < parts[place.part].tokens.size()) continue;
    const float* values = llama_get_logits_ith(context_.get(), static_cast<int32_t>(i));
    logits[place.part].emplace_back(values, values + size);
  }
  return logits;
}

std::vector<Tokens> Context::generate(const std::vector<Part>& parts, int count) {
  std::vector<Tokens> answers(parts.size());
  std::vector<Part> next = parts;
  for (int step = 0; step < count; ++step) {
    const std::vector<std::vector<float>> logits = decode(next);
    for (size_t i = 0; i < parts.size(); ++i) {
      answers[i].push_back(most_likely(logits[i]));
      next[i].position += static_cast<llama_pos>(next[i].tokens.size());
      next[i].tokens = {answers[i].back()};
    }
  }
  return answers;
}

llama_token most_likely(const std::vector<float>& logits) {
  return static_cast<llama_token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double logit_error(const std::vector<float>& expected, const std::vector<float>& actual) {
  const double mean =
      std::accumulate(expected.begin(), expected.end(), 0.0) / static_cast<double>(expected.size());
  double error = 0.0;
  double spread = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(expected[i]) - static_cast<double>(actual[i]);
    const double deviation = static_cast<double>(expected[i]) - mean;
    error += difference * difference;
    spread += deviation * deviation;
  }
  return error / spread;
}

}  // namespace shadowattn::plugin_test
