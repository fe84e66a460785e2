// Loading a model, with a bar for those that take a while.
#pragma once

#include <memory>
#include <string>

#include "llama_session.h"

namespace shadowattn::tool {

/// Throws Failure as LlamaModel does.
std::unique_ptr<LlamaModel> load_model(LlamaRuntime& runtime, const std::string& path);

}  // namespace shadowattn::tool
