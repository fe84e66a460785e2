// Growing, aligned scratch memory that is reused from call to call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace shadowattn {

/// Uninitialised array, aligned to a cache line; grows, never shrinks, never copies.
template <typename T>
class ScratchBuffer {
 public:
  /// At least `count` elements, whose contents are lost when the buffer grows.
  /// Throws std::bad_alloc and then keeps what it had.
  T* reserve(int64_t count) {
    if (count > capacity_) {
      constexpr std::align_val_t kLine{64};
      std::unique_ptr<T, Free> grown(
          static_cast<T*>(::operator new(static_cast<size_t>(count) * sizeof(T), kLine)));
      memory_ = std::move(grown);
      capacity_ = count;
    }
    return memory_.get();
  }

  int64_t bytes() const { return capacity_ * static_cast<int64_t>(sizeof(T)); }
  T* data() { return memory_.get(); }
  const T* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> memory_;
  int64_t capacity_ = 0;
};

}  // namespace shadowattn
