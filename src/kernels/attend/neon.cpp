#include "kernels/simd/neon.h"
#include "kernels/attend/attend_impl.h"
#include "kernels/attend/row_list_impl.h"

namespace shadowattn {

bool attend_gather_neon(const RowSource& source, const int32_t* index, int64_t first, int64_t count,
                        int64_t dim, float* out) {
  return gather_rows<simd::Neon>(source, index, first, count, dim, out);
}

void attend_tile_block_neon(const AttendBlock& block) { attend_tile_block<simd::Neon>(block); }

void attend_add_output_neon(const AttendBlock& block) { attend_add_output<simd::Neon>(block); }

void attend_row_list_neon(const AttendRow& row) { attend_row_list<simd::Neon>(row); }

void attend_exp_neon(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += simd::Neon::kLanes) {
    simd::Neon::store(y + i, vector_exp<simd::Neon>(simd::Neon::load(x + i)));
  }
}

}  // namespace shadowattn
