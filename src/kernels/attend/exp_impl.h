// exp and tanh over a SIMD struct of kernels/simd/.
#pragma once

namespace shadowattn {

/// e^x for x ≤ 88: x = n·ln 2 + r with |r| ≤ ln(2)/2, e^r by its Taylor polynomial of degree 6
/// (truncation below 1.7e-7 relative), times 2^n. Zero below -87.3 (where 2^n would be subnormal),
/// so zero for -inf. NaN stays NaN.
template <typename Simd>
typename Simd::Vec vector_exp(typename Simd::Vec x) {
  using Vec = typename Simd::Vec;
  const Vec lowest = Simd::set1(-87.3F);
  const Vec clamped = Simd::max(lowest, x);
  const Vec n = Simd::round(Simd::mul(clamped, Simd::set1(1.44269504F)));
  // ln 2 in two parts, the first with few enough bits that n · part is exact.
  Vec r = Simd::fma(n, Simd::set1(-0.693359375F), clamped);
  r = Simd::fma(n, Simd::set1(2.12194440e-4F), r);
  Vec p = Simd::set1(1.0F / 720.0F);
  p = Simd::fma(p, r, Simd::set1(1.0F / 120.0F));
  p = Simd::fma(p, r, Simd::set1(1.0F / 24.0F));
  p = Simd::fma(p, r, Simd::set1(1.0F / 6.0F));
  p = Simd::fma(p, r, Simd::set1(0.5F));
  p = Simd::fma(p, r, Simd::set1(1.0F));
  p = Simd::fma(p, r, Simd::set1(1.0F));
  return Simd::select_less(x, lowest, Simd::zero(), Simd::mul(p, Simd::exp2_int(n)));
}

/// tanh(x) = sign(x) · (1 - e^{-2|x|}) / (1 + e^{-2|x|}); absolute error below 2^-22.
template <typename Simd>
typename Simd::Vec vector_tanh(typename Simd::Vec x) {
  using Vec = typename Simd::Vec;
  const Vec one = Simd::set1(1.0F);
  const Vec negated = Simd::sub(Simd::zero(), x);
  const Vec magnitude = Simd::max(negated, x);  // |x|, and NaN for NaN
  const Vec e = vector_exp<Simd>(Simd::mul(Simd::set1(-2.0F), magnitude));
  const Vec t = Simd::div(Simd::sub(one, e), Simd::add(one, e));
  return Simd::select_less(x, Simd::zero(), Simd::sub(Simd::zero(), t), t);
}

}  // namespace shadowattn
