// llama.cpp behind RAII: backends, model, context, sampler. Only llama.h's and ggml's C API.
#pragma once

#include <llama.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shadowattn::tool {

/// llama.cpp's backends, loaded from the folder of its own libraries, and its log, kept quiet.
/// One per process, and it must outlive models and contexts.
class LlamaRuntime {
 public:
  LlamaRuntime();
  ~LlamaRuntime();
  LlamaRuntime(const LlamaRuntime&) = delete;
  LlamaRuntime& operator=(const LlamaRuntime&) = delete;

  /// The first error llama.cpp logged since the last call, without its function name; "" if none.
  std::string take_error();
  /// The folder llama.cpp was loaded from.
  static std::string library_folder();

 private:
  static void on_log(ggml_log_level level, const char* text, void* self);
  void add_log(ggml_log_level level, std::string_view text);

  std::mutex mutex_;  // llama.cpp logs from several threads
  bool continues_error_ = false;
  std::string error_;
};

/// A prompt is a fixed part, the text that is read, and a question about it.
struct PromptTemplate {
  std::string before;  ///< before the text
  std::string after;   ///< after the question: where the answer starts
  bool chat = false;   ///< from the model's chat template; otherwise both are empty
};

class LlamaModel {
 public:
  using LoadCallback = std::function<bool(double share)>;  ///< false stops loading

  /// Throws Failure with what llama.cpp said when the model cannot be used.
  LlamaModel(LlamaRuntime& runtime, const std::string& path, LoadCallback on_progress = nullptr);

  llama_model* get() const { return model_.get(); }
  const std::string& path() const { return path_; }
  std::string description() const;  ///< "qwen2 1B Q4_0"
  int32_t vocabulary() const { return llama_vocab_n_tokens(vocab()); }
  int64_t train_context() const { return llama_model_n_ctx_train(get()); }

  /// Plain text: what looks like a control token in it is only text.
  std::vector<llama_token> tokenize(std::string_view text) const { return encode(text, false); }
  /// How many tokens a piece of text is. Must not outlive the model.
  std::function<int64_t(std::string_view)> token_counter() const {
    return [this](std::string_view text) { return static_cast<int64_t>(tokenize(text).size()); };
  }
  /// A part of a chat template, whose control tokens are meant.
  std::vector<llama_token> tokenize_control(std::string_view text) const {
    return encode(text, true);
  }
  /// The tokens a prompt must start with: BOS, or none.
  std::vector<llama_token> start_tokens() const;
  /// Bytes of a token; may be a part of a character. Control tokens are empty.
  std::string piece(llama_token token) const;
  bool ends_answer(llama_token token) const { return llama_vocab_is_eog(vocab(), token); }

  /// From the model's chat template when it has one that llama.cpp knows.
  PromptTemplate prompt_template() const;

 private:
  struct Deleter {
    void operator()(llama_model* model) const { llama_model_free(model); }
  };

  const llama_vocab* vocab() const { return llama_model_get_vocab(get()); }
  std::vector<llama_token> encode(std::string_view text, bool parse_control) const;

  std::string path_;
  std::unique_ptr<llama_model, Deleter> model_;
};

struct ContextOptions {
  int64_t tokens = 0;  ///< prompt and answer
  int ubatch = 512;
  int threads = 1;
  /// On: the plug-in is offered the attention of every layer. Off: it is never asked.
  bool flash_attention = true;
  ggml_type type_k = GGML_TYPE_F16;  ///< of the KV cache
  ggml_type type_v = GGML_TYPE_F16;  ///< quantised: flash attention must be on
  /// llama.cpp's cb_eval, or null: may ask for any node of the graph once it is computed.
  ggml_backend_sched_eval_callback on_node = nullptr;
  void* on_node_data = nullptr;
};

class LlamaContext {
 public:
  /// Throws Failure when there is not enough memory.
  LlamaContext(LlamaRuntime& runtime, const LlamaModel& model, const ContextOptions& options);

  llama_context* get() const { return context_.get(); }

  /// Appends tokens; the last one's logits can be sampled from. Returns false when Ctrl-C came
  /// before the end. `on_progress` gets the number of tokens done so far.
  bool append(std::span<const llama_token> tokens,
              const std::function<void(int64_t done)>& on_progress = nullptr);

  /// As append, for at most one ubatch of tokens, with the logits of all from `first` on. These
  /// stay until the next append.
  bool append_scored(std::span<const llama_token> tokens, size_t first);
  /// Of the last append_scored's token number `index` (of all its tokens): [n_vocab].
  std::span<const float> logits(size_t index) const;

  /// Forgets all tokens from position `count` on. Throws Failure when this model cannot.
  void truncate(int64_t count);

  /// Bytes of keys and values of all tokens, as llama.cpp would save them.
  int64_t state_bytes() const;
  /// Keys and values of all tokens. Throws Failure when llama.cpp cannot save them.
  std::vector<uint8_t> save_tokens() const;
  /// Takes over what another context of the same model, KV cache types and flash attention saved
  /// (without flash attention: with_values_by_channel of it), and forgets its own tokens. Returns
  /// false, with no token left, when llama.cpp does not take it.
  bool restore_tokens(std::span<const uint8_t> state);

 private:
  struct Deleter {
    void operator()(llama_context* context) const { llama_free(context); }
  };

  /// Logits of the tokens from `first_scored` on are wanted.
  bool decode(std::span<const llama_token> tokens, size_t first_scored);

  LlamaRuntime& runtime_;
  int ubatch_;
  std::unique_ptr<llama_context, Deleter> context_;
};

/// Temperature 0: always the most likely token.
class Sampler {
 public:
  Sampler(double temperature, uint32_t seed);
  llama_token sample(const LlamaContext& context) const;

 private:
  struct Deleter {
    void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
  };
  std::unique_ptr<llama_sampler, Deleter> chain_;
};

}  // namespace shadowattn::tool
