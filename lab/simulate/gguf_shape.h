// The shape of a model in a GGUF file.
#pragma once

#include <string>

#include "simulate/model_shape.h"

namespace shadowattn::tool::simulate {

/// Reads the file's metadata, no weights. Throws Failure when it is no such file, lacks something,
/// or is of a kind that the prediction does not know: several experts, or layers unlike each other.
ModelShape read_gguf_shape(const std::string& path);

}  // namespace shadowattn::tool::simulate
