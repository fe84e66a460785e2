#include "kernels/attend/attend_impl.h"
#include "kernels/attend/row_list_impl.h"
#include "kernels/simd/generic.h"

namespace shadowattn {

bool attend_gather_scalar(const RowSource& source, const int32_t* index, int64_t first,
                          int64_t count, int64_t dim, float* out) {
  return gather_rows<simd::Generic>(source, index, first, count, dim, out);
}

void attend_tile_block_scalar(const AttendBlock& block) { attend_tile_block<simd::Generic>(block); }

void attend_add_output_scalar(const AttendBlock& block) { attend_add_output<simd::Generic>(block); }

void attend_row_list_scalar(const AttendRow& row) { attend_row_list<simd::Generic>(row); }

void attend_exp_scalar(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += simd::Generic::kLanes) {
    simd::Generic::store(y + i, vector_exp<simd::Generic>(simd::Generic::load(x + i)));
  }
}

}  // namespace shadowattn
