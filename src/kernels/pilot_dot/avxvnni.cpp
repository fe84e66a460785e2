// AVX-VNNI: vpdpbusd for processors without AVX-512.
#include "kernels/pilot_dot/vnni256_dots.h"

namespace shadowattn {
namespace {

struct Instruction {
  [[gnu::always_inline]] static __m256i dot(__m256i sum, __m256i keys, __m256i queries) {
    return _mm256_dpbusd_avx_epi32(sum, keys, queries);
  }
};
using Dots = Vnni256Dots<Instruction>;

}  // namespace

int64_t pilot_key_block_bytes_avxvnni(int64_t dim) { return Dots::block_bytes(dim); }

int64_t pilot_query_row_bytes_avxvnni(int64_t dim) { return Dots::row_bytes(dim); }

void pilot_pack_keys_avxvnni(const int8_t* k, int64_t keys, int64_t dim, void* packed) {
  Dots::pack_keys(k, keys, dim, packed);
}

void pilot_pack_queries_avxvnni(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  Dots::pack_queries(q, rows, dim, packed);
}

void pilot_pack_queries7_avxvnni(const int8_t* q, int64_t rows, int64_t dim, void* packed) {
  Dots::pack_queries(q, rows, dim, packed);
}

void pilot_scores_avxvnni(const PilotTile& tile) { avx2_tile::scores<Dots>(tile); }

void pilot_fixed_scores_avxvnni(const PilotFixed& tile) { avx2_tile::fixed_scores<Dots>(tile); }

void pilot_ranks_avxvnni(const PilotRank& list) { avx2_tile::ranks<Dots>(list); }

void pilot_shares_avxvnni(const PilotShares& list) { avx2_tile::all_shares<Dots>(list); }

}  // namespace shadowattn
