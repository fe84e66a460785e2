// Which model a GGUF file holds, without reading all of it.
#pragma once

#include <string>

#include "shadowattn/profile.h"

namespace shadowattn::tool {

/// Architecture, number of parameters and a checksum of the weights: names, types and shapes of all
/// tensors and up to 12 KiB of each (docs/profile.md). Of a model in several files, those in the
/// one at `path`. Throws Failure when the file cannot be read or is no sound GGUF file.
/// ggml logs what is wrong with the file: make a LlamaRuntime before, which keeps it quiet.
ProfiledModel identify_model(const std::string& path);

}  // namespace shadowattn::tool
