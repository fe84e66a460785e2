#include "common/version.h"

namespace shadowattn::tool {

const char* program_version() { return SHADOWATTN_VERSION; }

const char* llama_commit() { return SHADOWATTN_LLAMA_COMMIT; }

}  // namespace shadowattn::tool
