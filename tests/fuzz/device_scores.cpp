// A fuzz target: whatever bytes a device returns, the result is a valid list (docs in HACKING.md).
#include <cstdio>
#include <cstdlib>

#include "device_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string wrong = shadowattn::test::check_device_bytes({data, size});
  if (wrong.empty()) return 0;
  std::fprintf(stderr, "%s\n", wrong.c_str());
  std::abort();
}
