// This machine and this moment in words, for reports.
#pragma once

#include <string>

namespace shadowattn::tool {

/// "AMD Ryzen 9 7950X, 16 cores, 63 GiB, avx512bf16": processor, cores that this process may use,
/// memory, level of the kernels in use. llama.cpp's CPU backend must have been loaded.
std::string describe_machine();

/// "2026-11-27T12:34:56Z".
std::string utc_now();

}  // namespace shadowattn::tool
