#include "kernels/simd/avx2.h"
#include "kernels/attend/attend_impl.h"
#include "kernels/attend/row_list_impl.h"

namespace shadowattn {

bool attend_gather_avx2(const RowSource& source, const int32_t* index, int64_t first, int64_t count,
                        int64_t dim, float* out) {
  return gather_rows<simd::Avx2>(source, index, first, count, dim, out);
}

void attend_tile_block_avx2(const AttendBlock& block) { attend_tile_block<simd::Avx2>(block); }

void attend_add_output_avx2(const AttendBlock& block) { attend_add_output<simd::Avx2>(block); }

void attend_row_list_avx2(const AttendRow& row) { attend_row_list<simd::Avx2>(row); }

void attend_exp_avx2(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += simd::Avx2::kLanes) {
    simd::Avx2::store(y + i, vector_exp<simd::Avx2>(simd::Avx2::load(x + i)));
  }
}

}  // namespace shadowattn
