// What subcommands read: model and document, with progress and warnings on standard error.
#pragma once

#include <memory>
#include <string>

#include "files.h"
#include "llama_session.h"

namespace shadowattn::tool {

/// Loads the model with a progress bar. Throws Failure.
std::unique_ptr<LlamaModel> load_model(LlamaRuntime& runtime, const std::string& path);

/// As read_document, with a warning when bytes were replaced.
Document load_document(const std::string& path);

}  // namespace shadowattn::tool
