// What subcommands read: model and document, with progress and warnings on standard error.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "common/files.h"
#include "common/llama_session.h"

namespace shadowattn::tool {

/// Adds -m. Without it `model` stays empty.
void add_model_option(CLI::App& app, std::string& model);

/// The model given with -m; when that is empty SmolLM2-135M-Instruct from the cache, or else the
/// reference model, which a line on standard error says. Throws Failure when there is none.
std::string model_or_default(const std::string& given);

/// Loads the model with a progress bar. Throws Failure.
std::unique_ptr<LlamaModel> load_model(LlamaRuntime& runtime, const std::string& path);

/// The document that -f named, else the one that comes with shadowattn.
std::string document_or_default(const std::string& given);

/// As read_document, with a warning when bytes were replaced.
Document load_document(const std::string& path);

}  // namespace shadowattn::tool
