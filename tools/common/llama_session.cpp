#include "common/llama_session.h"

#include <dlfcn.h>
#include <ggml-backend.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <new>

#include "common/failure.h"
#include "common/interrupt.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace {

// Configures the plug-in in other programs; here that is done by options.
constexpr char kPluginVariable[] = "SHADOWATTN";

// Stands for the document while a chat template is applied; no template changes a word like this.
constexpr std::string_view kPlaceholder = "shadowattn-document-goes-here";

// "llama_model_load: error loading model: tensor …" -> "tensor …": the prefixes mean nothing to
// people who only wanted an answer.
std::string without_function_name(const std::string& line) {
  for (const std::string_view noise : {"error loading model: "}) {
    const size_t at = line.find(noise);
    if (at != std::string::npos) return line.substr(at + noise.size());
  }
  const size_t colon = line.find(": ");
  const bool is_name = colon != std::string::npos && line.find(' ') > colon;
  return is_name ? line.substr(colon + 2) : line;
}

bool abort_requested(void* /*data*/) { return interrupted(); }

bool load_progress(float share, void* callback) {
  const auto& on_progress = *static_cast<LlamaModel::LoadCallback*>(callback);
  return !interrupted() && (!on_progress || on_progress(share));
}

void check_generates_text(const llama_model* model, const std::string& path) {
  if (llama_model_has_decoder(model) && !llama_model_has_encoder(model)) return;
  throw Failure("the model " + path + " does not continue text (it has an encoder); give a " +
                "language model such as Qwen2.5-Instruct");
}

}  // namespace

LlamaRuntime::LlamaRuntime() {
  llama_log_set(on_log, this);
  unsetenv(kPluginVariable);
  ggml_backend_load_all_from_path(library_folder().c_str());
  llama_backend_init();
  if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr) {
    const std::string reason = take_error();
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    throw Failure("llama.cpp's CPU backend was not found beside its other libraries" +
                  (reason.empty() ? "" : ": " + reason) + "; build or install shadowattn again");
  }
  take_error();  // of backends that this machine has no use for
}

LlamaRuntime::~LlamaRuntime() {
  llama_backend_free();
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
}

std::string LlamaRuntime::take_error() {
  const std::lock_guard lock(mutex_);
  const std::string line = one_line(error_.substr(0, error_.find('\n')));
  error_.clear();
  continues_error_ = false;
  return without_function_name(line);
}

std::string LlamaRuntime::library_folder() {
  Dl_info info = {};
  if (dladdr(reinterpret_cast<void*>(&ggml_backend_load_all_from_path), &info) == 0) return ".";
  return std::filesystem::path(info.dli_fname).parent_path().string();
}

void LlamaRuntime::on_log(ggml_log_level level, const char* text, void* self) {
  static_cast<LlamaRuntime*>(self)->add_log(level, text);
}

void LlamaRuntime::add_log(ggml_log_level level, std::string_view text) {
  // What the plug-in has to say is for the user, llama.cpp's chatter is not.
  if (text.starts_with("shadowattn: ")) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    return;
  }
  const std::lock_guard lock(mutex_);
  if (level != GGML_LOG_LEVEL_CONT) continues_error_ = level == GGML_LOG_LEVEL_ERROR;
  if (continues_error_) error_ += text;
}

LlamaModel::LlamaModel(LlamaRuntime& runtime, const std::string& path, LoadCallback on_progress)
    : path_(path) {
  llama_model_params params = llama_model_default_params();
  params.progress_callback = load_progress;
  params.progress_callback_user_data = &on_progress;
  runtime.take_error();
  model_.reset(llama_model_load_from_file(path.c_str(), params));
  if (!model_) {
    if (interrupted()) throw Failure("interrupted", interrupted_status());
    const std::string reason = runtime.take_error();
    throw Failure("llama.cpp cannot load the model " + path + ": " +
                  (reason.empty() ? "it does not say why" : reason) +
                  "; if the file is damaged or cut short, download it again");
  }
  check_generates_text(model_.get(), path);
}

std::string LlamaModel::description() const {
  std::array<char, 256> buffer{};
  llama_model_desc(get(), buffer.data(), buffer.size());
  return buffer.data();
}

std::vector<llama_token> LlamaModel::encode(std::string_view text, bool parse_control) const {
  if (text.size() > INT32_MAX / 2) throw Failure("texts of more than 1 GB are not supported");
  const auto length = static_cast<int32_t>(text.size());
  std::vector<llama_token> tokens(text.size() / 3 + 16);
  while (true) {
    const int32_t count = llama_tokenize(vocab(), text.data(), length, tokens.data(),
                                         static_cast<int32_t>(tokens.size()), false, parse_control);
    if (count >= 0) {
      tokens.resize(static_cast<size_t>(count));
      return tokens;
    }
    if (count == INT32_MIN) throw Failure("the text has too many tokens for llama.cpp");
    tokens.resize(static_cast<size_t>(-count));
  }
}

std::vector<llama_token> LlamaModel::start_tokens() const {
  if (!llama_vocab_get_add_bos(vocab())) return {};
  return {llama_vocab_bos(vocab())};
}

std::string LlamaModel::piece(llama_token token) const {
  std::string text(64, '\0');
  int32_t length = llama_token_to_piece(vocab(), token, text.data(),
                                        static_cast<int32_t>(text.size()), 0, false);
  if (length < 0) {
    text.resize(static_cast<size_t>(-length));
    length = llama_token_to_piece(vocab(), token, text.data(), -length, 0, false);
  }
  text.resize(static_cast<size_t>(std::max(length, 0)));
  return text;
}

PromptTemplate LlamaModel::prompt_template() const {
  const char* source = llama_model_chat_template(get(), nullptr);
  if (source == nullptr) return {};
  const std::string content(kPlaceholder);
  const llama_chat_message message = {"user", content.c_str()};
  std::string text(1024, '\0');
  int32_t length = llama_chat_apply_template(source, &message, 1, true, text.data(),
                                             static_cast<int32_t>(text.size()));
  if (length > static_cast<int32_t>(text.size())) {
    text.resize(static_cast<size_t>(length));
    length = llama_chat_apply_template(source, &message, 1, true, text.data(), length);
  }
  if (length < 0) return {};  // a template llama.cpp does not know
  text.resize(static_cast<size_t>(length));
  const size_t at = text.find(kPlaceholder);
  if (at == std::string::npos) return {};
  return {text.substr(0, at), text.substr(at + kPlaceholder.size()), true};
}

LlamaContext::LlamaContext(LlamaRuntime& runtime, const LlamaModel& model,
                           const ContextOptions& options)
    : runtime_(runtime), ubatch_(options.ubatch) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(options.tokens);
  params.n_batch = static_cast<uint32_t>(options.ubatch);
  params.n_ubatch = static_cast<uint32_t>(options.ubatch);
  params.n_threads = options.threads;
  params.n_threads_batch = options.threads;
  params.flash_attn_type =
      options.flash_attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.type_k = options.type_k;
  params.type_v = options.type_v;
  params.cb_eval = options.on_node;
  params.cb_eval_user_data = options.on_node_data;
  params.abort_callback = abort_requested;
  runtime.take_error();
  context_.reset(llama_init_from_model(model.get(), params));
  if (!context_) {
    const std::string reason = runtime.take_error();
    throw Failure("llama.cpp cannot make a context of " + format_count(options.tokens) + " tokens" +
                  (reason.empty() ? "" : ": " + reason) + "; try a smaller -c");
  }
  if (llama_get_memory(context_.get()) == nullptr) {
    throw Failure("the model " + model.path() + " does not continue text; give a language model " +
                  "such as Qwen2.5-Instruct");
  }
}

bool LlamaContext::append(std::span<const llama_token> tokens,
                          const std::function<void(int64_t done)>& on_progress) {
  const auto step = static_cast<size_t>(ubatch_);
  for (size_t start = 0; start < tokens.size(); start += step) {
    const size_t count = std::min(step, tokens.size() - start);
    const bool last = start + count == tokens.size();
    const size_t first_scored = last ? count - 1 : count;
    if (interrupted() || !decode(tokens.subspan(start, count), first_scored)) return false;
    if (on_progress) on_progress(static_cast<int64_t>(start + count));
  }
  return true;
}

bool LlamaContext::append_scored(std::span<const llama_token> tokens, size_t first) {
  return !interrupted() && decode(tokens, first);
}

std::span<const float> LlamaContext::logits(size_t index) const {
  const float* row = llama_get_logits_ith(get(), static_cast<int32_t>(index));
  if (row == nullptr) throw Failure("llama.cpp gives no logits of a token that has some");
  const llama_vocab* vocab = llama_model_get_vocab(llama_get_model(get()));
  return {row, static_cast<size_t>(llama_vocab_n_tokens(vocab))};
}

bool LlamaContext::decode(std::span<const llama_token> tokens, size_t first_scored) {
  std::vector<llama_token> batch_tokens(tokens.begin(), tokens.end());
  std::vector<int8_t> logits(tokens.size(), 0);
  for (size_t i = first_scored; i < logits.size(); ++i) logits[i] = 1;
  llama_batch batch = {};
  batch.n_tokens = static_cast<int32_t>(tokens.size());
  batch.token = batch_tokens.data();
  batch.logits = logits.data();
  runtime_.take_error();
  const int32_t status = llama_decode(get(), batch);
  llama_synchronize(get());
  if (status == 0) return true;
  if (interrupted()) return false;
  const std::string reason = runtime_.take_error();
  throw Failure("llama.cpp could not process the prompt (status " + std::to_string(status) + ")" +
                (reason.empty() ? "" : ": " + reason));
}

void LlamaContext::truncate(int64_t count) {
  if (llama_memory_seq_rm(llama_get_memory(get()), 0, static_cast<llama_pos>(count), -1)) return;
  throw Failure("this model cannot forget tokens it has read (it is recurrent)");
}

int64_t LlamaContext::state_bytes() const {
  return static_cast<int64_t>(llama_state_seq_get_size(get(), 0));
}

std::vector<uint8_t> LlamaContext::save_tokens() const {
  std::vector<uint8_t> state(llama_state_seq_get_size(get(), 0));
  runtime_.take_error();
  if (llama_state_seq_get_data(get(), state.data(), state.size(), 0) == state.size()) return state;
  const std::string reason = runtime_.take_error();
  throw Failure("llama.cpp could not save the tokens of a context" +
                (reason.empty() ? "" : ": " + reason));
}

bool LlamaContext::restore_tokens(std::span<const uint8_t> state) {
  const size_t read = llama_state_seq_set_data(get(), state.data(), state.size(), 0);
  runtime_.take_error();
  if (read == state.size()) return true;
  truncate(0);
  return false;
}

Sampler::Sampler(double temperature, uint32_t seed)
    : chain_(llama_sampler_chain_init(llama_sampler_chain_default_params())) {
  if (temperature <= 0) {
    llama_sampler_chain_add(chain_.get(), llama_sampler_init_greedy());
    return;
  }
  // llama.cpp's own defaults, in its order.
  llama_sampler_chain_add(chain_.get(), llama_sampler_init_top_k(40));
  llama_sampler_chain_add(chain_.get(), llama_sampler_init_top_p(0.95F, 1));
  llama_sampler_chain_add(chain_.get(), llama_sampler_init_min_p(0.05F, 1));
  llama_sampler_chain_add(chain_.get(), llama_sampler_init_temp(static_cast<float>(temperature)));
  llama_sampler_chain_add(chain_.get(), llama_sampler_init_dist(seed));
}

llama_token Sampler::sample(const LlamaContext& context) const {
  return llama_sampler_sample(chain_.get(), context.get(), -1);
}

}  // namespace shadowattn::tool
