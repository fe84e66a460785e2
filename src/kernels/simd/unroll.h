// Loops whose index is a constant in every step.
#pragma once

#include <type_traits>
#include <utility>

namespace shadowattn {

template <typename Step, int... kIndex>
[[gnu::always_inline]] inline void unrolled(std::integer_sequence<int, kIndex...>, Step&& step) {
  (step(std::integral_constant<int, kIndex>()), ...);
}

/// step(0), …, step(kCount - 1) with std::integral_constant arguments. An array of vectors that is
/// indexed only so stays in registers; GCC 12 unrolls plain loops too late for that and mirrors
/// every accumulator on the stack. Mark the lambda always_inline.
template <int kCount, typename Step>
[[gnu::always_inline]] inline void unrolled(Step&& step) {
  unrolled(std::make_integer_sequence<int, kCount>(), std::forward<Step>(step));
}

}  // namespace shadowattn
