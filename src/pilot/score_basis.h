// The few directions in which the queries and keys of a KV head meet.
//
// With C_q = E[q qᵀ] = L Lᵀ and C_k = E[(k - m)(k - m)ᵀ] (m: mean of the keys), and u_c, λ_c the
// eigenvectors and values of M = Lᵀ C_k L, largest first,
//
//   q·(k - m) = Σ_c a_c · b_c,   a = S Uᵀ L⁻¹ q,   b = S⁻¹ Uᵀ Lᵀ (k - m),   S = diag(λ^¼)
//
// and the first n terms of the sum are the best estimate of q·(k - m) of all that take n products:
// what they leave out has the variance Σ_{c ≥ n} λ_c over the queries and keys. The factors S give
// a and b the same spread in every direction, so that both lose as little by INT8 as they can.
//
// Attention of real models needs half to three quarters of the head dim (docs/method.md).
#pragma once

#include <cstdint>

#include "kernels/attend/attend.h"
#include "kernels/project/project.h"
#include "kernels/scratch.h"
#include "plan/visibility.h"
#include "shadowattn/attention.h"

namespace shadowattn {

/// One object per KV head, reused.
class ScoreBasis {
 public:
  /// Grows the scratch so that `find` allocates nothing. Throws std::bad_alloc.
  void reserve(int64_t dim);

  /// From a sample of the call's queries and keys. Directions that nothing points to are found too,
  /// but with samples that are not finite, or of zeros alone, the basis is that of the head dim.
  void find(const AttentionCall& call, int64_t kv_head, KeyRange keys, const AttendKernel& attend,
            const ProjectKernel& project);

  /// How many directions make the estimate: a multiple of kProjectColumns, the head dim at most.
  int64_t dim() const { return dim_; }
  /// [head dim][head dim]: a of a query, all directions.
  const float* query_map() const { return query_map_.data(); }
  /// [head dim][dim()], and [dim()] to start with: b of a key.
  const float* key_map() const { return key_map_.data(); }
  const float* key_start() const { return key_start_.data(); }
  /// Variance over the keys of what the directions left out add to a · b of a query whose a is
  /// given ([head dim]).
  double left_out(const float* a) const;

  int64_t scratch_bytes() const;

 private:
  int64_t sample_keys(const AttentionCall& call, int64_t kv_head, KeyRange keys,
                      const AttendKernel& attend);
  int64_t sample_queries(const AttentionCall& call, int64_t kv_head);
  void centre(int64_t rows);
  double scale_sample(int64_t rows);
  /// E[x xᵀ] of the sampled rows, to out [head dim][head dim]; false when that is zero.
  bool second_moment(int64_t rows, const ProjectKernel& project, float* out);
  void multiply(const float* a, const float* b, float* out, const ProjectKernel& project) const;
  void transpose(const float* a, float* out) const;
  bool factorise();
  void orthonormalise(int64_t c);
  void rotate(const ProjectKernel& project);
  void choose_dim(double allowed);
  void make_maps(const ProjectKernel& project);
  void set_identity();

  int64_t head_dim_ = 0;
  int64_t dim_ = 0;
  double query_scale_ = 0.0;  // of the sampled rows, against overflow
  double key_scale_ = 0.0;
  ScratchBuffer<float> query_map_;
  ScratchBuffer<float> key_map_;
  ScratchBuffer<float> key_start_;
  ScratchBuffer<float> mean_;        // [head dim]
  ScratchBuffer<float> sample_;      // [rows][head dim]
  ScratchBuffer<float> transposed_;  // [head dim][rows]
  ScratchBuffer<float> query_;       // [head dim][head dim], as all that follow: C_q
  ScratchBuffer<float> key_;         // C_k
  ScratchBuffer<float> lower_;       // L
  ScratchBuffer<float> upper_;       // Lᵀ
  ScratchBuffer<float> joint_;       // M
  ScratchBuffer<float> direction_;   // Uᵀ: a direction per row
  ScratchBuffer<float> product_;
  ScratchBuffer<double> value_;   // λ, [head dim]
  ScratchBuffer<int32_t> order_;  // [head dim]
};

}  // namespace shadowattn
