// A program that knows nothing of the plug-in: it reads a prompt and prints how the model goes on,
// most likely token first. Linked to llama.cpp libraries that somebody else built:
//   prebuilt_host <folder of the backends> <model> <prompt file>
// GGML_BACKEND_PATH, which ggml reads by itself, is how the plug-in comes in.
#include <ggml-backend.h>
#include <llama.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr uint32_t kCells = 2048;
constexpr int kThreads = 2;
constexpr int kAnswerTokens = 16;

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* object) const { Free(object); }
};
using Model = std::unique_ptr<llama_model, Deleter<llama_model, llama_model_free>>;
using Context = std::unique_ptr<llama_context, Deleter<llama_context, llama_free>>;

Model load(const char* path) {
  Model model(llama_model_load_from_file(path, llama_model_default_params()));
  if (!model) throw std::runtime_error(std::string("cannot load ") + path);
  return model;
}

Context make_context(llama_model* model) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = kCells;
  params.n_threads = kThreads;
  params.n_threads_batch = kThreads;
  Context context(llama_init_from_model(model, params));
  if (!context) throw std::runtime_error("llama_init_from_model failed");
  return context;
}

std::vector<llama_token> tokenize(const llama_vocab* vocab, const std::string& text) {
  std::vector<llama_token> tokens(text.size() + 8);
  const int32_t count =
      llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                     static_cast<int32_t>(tokens.size()), true, false);
  if (count <= 0) throw std::runtime_error("llama_tokenize failed");
  tokens.resize(static_cast<size_t>(count));
  return tokens;
}

void decode(llama_context* context, llama_token* tokens, size_t count) {
  const int result =
      llama_decode(context, llama_batch_get_one(tokens, static_cast<int32_t>(count)));
  if (result != 0) throw std::runtime_error("llama_decode: " + std::to_string(result));
}

void decode_prompt(llama_context* context, std::vector<llama_token>& tokens) {
  const size_t batch = llama_n_batch(context);
  for (size_t begin = 0; begin < tokens.size(); begin += batch) {
    decode(context, tokens.data() + begin, std::min(batch, tokens.size() - begin));
  }
}

void generate(llama_context* context, const llama_vocab* vocab) {
  for (int i = 0; i < kAnswerTokens; ++i) {
    const float* logits = llama_get_logits_ith(context, -1);
    auto token = static_cast<llama_token>(
        std::max_element(logits, logits + llama_vocab_n_tokens(vocab)) - logits);
    std::array<char, 64> piece{};
    const int32_t length = llama_token_to_piece(vocab, token, piece.data(), piece.size(), 0, true);
    if (length > 0) std::fwrite(piece.data(), 1, static_cast<size_t>(length), stdout);
    decode(context, &token, 1);
  }
  std::puts("");
}

void run(const char* folder, const char* model_path, const char* prompt_path) {
  std::ifstream file(prompt_path);
  const std::string prompt{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ggml_backend_load_all_from_path(folder);
  const Model model = load(model_path);
  const Context context = make_context(model.get());
  const llama_vocab* vocab = llama_model_get_vocab(model.get());
  std::vector<llama_token> tokens = tokenize(vocab, prompt);
  decode_prompt(context.get(), tokens);
  generate(context.get(), vocab);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: prebuilt_host <backends> <model> <prompt file>");
  run(argv[1], argv[2], argv[3]);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "prebuilt_host: %s\n", error.what());
  return 1;
}
