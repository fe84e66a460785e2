// shadowattn-lab record: queries, keys and values of real attention calls, in a file.

#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "common/attention_options.h"
#include "common/failure.h"
#include "common/files.h"
#include "common/input.h"
#include "common/interrupt.h"
#include "common/llama_session.h"
#include "common/plugin_control.h"
#include "common/progress.h"
#include "common/record_capture.h"
#include "common/recording.h"
#include "common/summary.h"
#include "common/text.h"
#include "lab/subcommands.h"

namespace shadowattn::tool {
namespace {

constexpr int kMostRows = 65536;
constexpr int kMostTokens = 1 << 30;

const std::map<std::string, ggml_type>& cache_types() {
  static const std::map<std::string, ggml_type> types = {{"f16", GGML_TYPE_F16},
                                                         {"q8_0", GGML_TYPE_Q8_0}};
  return types;
}

struct RecordOptions {
  std::string model;  // empty: the default
  std::string document;
  std::string output;
  std::vector<int> layers;  // empty: first, middle, last
  int64_t context = 0;      // 0: as much of the text as the model can read
  int rows = 512;
  int threads = default_threads();
  ggml_type type_k = GGML_TYPE_F16;
  ggml_type type_v = GGML_TYPE_F16;
};

std::set<int> chosen_layers(const RecordOptions& options, const LlamaModel& model) {
  const int count = llama_model_n_layer(model.get());
  if (options.layers.empty()) return {0, count / 2, count - 1};
  for (const int layer : options.layers) {
    if (layer < 0 || layer >= count) {
      throw Failure("there is no layer " + std::to_string(layer) + ": the model has layers 0 to " +
                    std::to_string(count - 1));
    }
  }
  return {options.layers.begin(), options.layers.end()};
}

std::vector<llama_token> tokens_to_read(const RecordOptions& options, const LlamaModel& model,
                                        const std::string& text) {
  std::vector<llama_token> tokens = model.start_tokens();
  const std::vector<llama_token> text_tokens = model.tokenize(text);
  tokens.insert(tokens.end(), text_tokens.begin(), text_tokens.end());
  const auto available = static_cast<int64_t>(tokens.size());
  if (options.context > available) {
    throw Failure("the text has only " + format_count(available) + " tokens, -c asks for " +
                  format_count(options.context) + "; give a longer text or a smaller -c");
  }
  const int64_t wanted =
      options.context > 0 ? options.context : std::min(available, model.train_context());
  if (wanted < options.rows) {
    throw Failure("only " + format_count(wanted) + " tokens would be read, too few for " +
                  format_count(options.rows) +
                  " rows; give a longer text, a larger -c or fewer --rows");
  }
  tokens.resize(static_cast<size_t>(wanted));
  return tokens;
}

// The last `rows` tokens are one ubatch, and that one is recorded.
void read_tokens(LlamaContext& context, AttentionCapture& capture,
                 std::span<const llama_token> tokens, int rows) {
  Progress progress("reading", static_cast<int64_t>(tokens.size()), "tokens");
  const size_t before = tokens.size() - static_cast<size_t>(rows);
  bool done = context.append(tokens.first(before), [&](int64_t count) { progress.update(count); });
  capture.arm();
  done = done && context.append(tokens.subspan(before));
  if (!done) throw Failure("interrupted", interrupted_status());
}

std::vector<RecordedCall> recorded_calls(const AttentionCapture& capture,
                                         const std::set<int>& layers) {
  std::vector<RecordedCall> calls;
  if (capture.calls().empty()) {
    throw Failure(
        "none of these layers has attention that llama.cpp computes with its flash "
        "attention over a KV cache; choose others with --layers, or another model");
  }
  for (const int layer : layers) {
    const auto found = capture.calls().find(layer);
    if (found == capture.calls().end()) {
      throw Failure("layer " + std::to_string(layer) +
                    " has no attention of its own; choose others with --layers");
    }
    calls.push_back(found->second);
  }
  return calls;
}

std::string shape_text(const OwnedTensor& tensor) {
  std::string text = ggml_type_name(tensor.type);
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    text += (i == 0 ? " " : " x ") + std::to_string(tensor.shape[i]);
  }
  return text;
}

void print_summary(const Recording& recording, const std::string& path) {
  Table table;
  table.add_row({"layer", "q", "k", "v", "mask"});
  for (const RecordedCall& call : recording.calls) {
    table.add_row({std::to_string(call.layer), shape_text(call.q), shape_text(call.k),
                   shape_text(call.v), call.mask.empty() ? "none" : shape_text(call.mask)});
  }
  const auto bytes = static_cast<int64_t>(std::filesystem::file_size(path));
  std::fprintf(stderr, "%s%s: %s, after %s tokens of %s\n", table.text().c_str(), path.c_str(),
               format_bytes(bytes).c_str(),
               format_count(static_cast<int64_t>(recording.tokens.size())).c_str(),
               recording.model.c_str());
}

int record(const RecordOptions& options) {
  check_writable(options.output);
  const std::string path = model_or_default(options.model);
  check_model_file(path);
  const Document document = load_document(options.document);
  const InterruptGuard guard;
  LlamaRuntime runtime;
  if (PluginControl::loaded_by_host()) {  // llama.cpp's own attention is what is recorded
    Config off;
    off.enabled = false;
    PluginControl(runtime).configure(off);
  }
  const std::unique_ptr<LlamaModel> model = load_model(runtime, path);
  const std::set<int> layers = chosen_layers(options, *model);
  Recording recording;
  recording.model = model->description();
  recording.tokens = tokens_to_read(options, *model, document.text);

  AttentionCapture capture(layers);
  ContextOptions context_options;
  context_options.tokens = static_cast<int64_t>(recording.tokens.size());
  context_options.ubatch = options.rows;
  context_options.threads = options.threads;
  context_options.type_k = options.type_k;
  context_options.type_v = options.type_v;
  context_options.on_node = AttentionCapture::on_node;
  context_options.on_node_data = &capture;
  {
    LlamaContext context(runtime, *model, context_options);
    read_tokens(context, capture, recording.tokens, options.rows);
  }
  recording.calls = recorded_calls(capture, layers);
  save_recording(recording, options.output);
  print_summary(recording, options.output);
  return kExitOk;
}

void add_cache_type_option(CLI::App& app, const std::string& flags, ggml_type& type,
                           const std::string& what) {
  app.add_option_function<std::string>(
         flags, [&type](const std::string& name) { type = cache_types().at(name); },
         "of the " + what + " in the cache: f16, q8_0 [f16]")
      ->check([](const std::string& name) {
        return std::string(cache_types().contains(name) ? "" : "f16 or q8_0 is expected");
      })
      ->type_name("TYPE");
}

}  // namespace

Action add_record(CLI::App& app) {
  const auto options = std::make_shared<RecordOptions>();
  add_model_option(app, options->model);
  app.add_option("-f,--file", options->document, "text to read; - is standard input")
      ->required()
      ->type_name("FILE");
  app.add_option("-o,--output", options->output, "file to write")->required()->type_name("FILE");
  app.add_option("--layers", options->layers, "layers, as 0,11,23 [the first, middle and last]")
      ->delimiter(',')
      ->type_name("LIST");
  app.add_option("-c,--context", options->context,
                 "tokens to read [all of the text, or what the model can read]")
      ->check(CLI::Range(1, kMostTokens).description(""))
      ->type_name("N");
  app.add_option("--rows", options->rows, "query rows: the last tokens, read at once [512]")
      ->check(CLI::Range(1, kMostRows).description(""))
      ->type_name("N");
  add_cache_type_option(app, "--ctk,--cache-type-k", options->type_k, "keys");
  add_cache_type_option(app, "--ctv,--cache-type-v", options->type_v, "values");
  add_threads_option(app, options->threads);
  return [options] { return record(*options); };
}

}  // namespace shadowattn::tool
