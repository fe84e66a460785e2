#include "input.h"

#include <cstdio>

#include "progress.h"
#include "text.h"

namespace shadowattn::tool {
namespace {

constexpr int kLoadSteps = 1000;

}  // namespace

std::unique_ptr<LlamaModel> load_model(LlamaRuntime& runtime, const std::string& path) {
  Progress progress("loading the model", kLoadSteps, "");
  return std::make_unique<LlamaModel>(runtime, path, [&](double share) {
    progress.update(static_cast<int64_t>(share * kLoadSteps));
    return true;
  });
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
