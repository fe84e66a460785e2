// Loops that do one kind of arithmetic as fast as a core can: registers only, enough independent
// chains to hide the latency. One file per ISA, compiled with its flags; see peaks.cpp for who may
// call what.
#pragma once

#include <cstdint>

namespace shadowattn::bench {

/// Independent accumulators. Latency × throughput is 8 to 12 on the cores known; with more GCC 12
/// spills some to memory.
inline constexpr int kPeakChains = 12;
inline constexpr int kPeakChains512 = 16;
/// Four units of a latency of four, as the large Arm cores have.
inline constexpr int kPeakChainsNeon = 16;

// Each runs `steps` steps of that many vector operations acc += a · b.
void peak_f32_generic(int64_t steps);
void peak_f32_avx2(int64_t steps);
void peak_int16_avx2(int64_t steps);
void peak_int8_avx2(int64_t steps);
void peak_f32_avx512(int64_t steps);
void peak_int8_avx512vnni(int64_t steps);
void peak_int16_avx512vnni(int64_t steps);
void peak_bf16_avx512bf16(int64_t steps);
void peak_f32_neon(int64_t steps);
void peak_int16_neon(int64_t steps);
void peak_int8_dotprod(int64_t steps);
void peak_int8_i8mm(int64_t steps);
void peak_bf16_bf16(int64_t steps);

}  // namespace shadowattn::bench
