#include "common/input.h"

#include <cstdio>

#include "common/progress.h"
#include "common/text.h"

namespace shadowattn::tool {
namespace {

constexpr int kLoadSteps = 1000;

}  // namespace

void add_model_option(CLI::App& app, std::string& model) {
  app.add_option("-m,--model", model,
                 "model, a GGUF file [SmolLM2-135M-Instruct from the cache, else bookworm-3m]")
      ->type_name("FILE");
}

std::string model_or_default(const std::string& given) {
  if (!given.empty()) return given;
  const std::filesystem::path cached = cached_model_path();
  if (!cached.empty()) return cached.string();
  const std::filesystem::path reference = reference_model_path();
  std::fprintf(stderr,
               "shadowattn: SmolLM2 is not in the cache (%s brings it, 94 MB); using bookworm-3m, "
               "which is tiny and knows little\n",
               fetch_script().c_str());
  return reference.string();
}

std::unique_ptr<LlamaModel> load_model(LlamaRuntime& runtime, const std::string& path) {
  Progress progress("loading the model", kLoadSteps, "");
  return std::make_unique<LlamaModel>(runtime, path, [&](double share) {
    progress.update(static_cast<int64_t>(share * kLoadSteps));
    return true;
  });
}

std::string document_or_default(const std::string& given) {
  return given.empty() ? default_document_path().string() : given;
}

Document load_document(const std::string& path) {
  Document document = read_document(path);
  if (document.replaced_bytes > 0) {
    std::fprintf(stderr,
                 "shadowattn: warning: the document is not valid UTF-8; %s bytes were replaced by "
                 "U+FFFD\n",
                 format_count(document.replaced_bytes).c_str());
  }
  return document;
}

}  // namespace shadowattn::tool
