// Which shadowattn and which llama.cpp this is.
#pragma once

namespace shadowattn::tool {

/// "0.1.0"
const char* program_version();

/// The commit of llama.cpp that this was built with, abbreviated; "unknown" for somebody's own
/// tree.
const char* llama_commit();

}  // namespace shadowattn::tool
