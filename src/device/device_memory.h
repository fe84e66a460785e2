// The memory that a device and the CPU share, when it is ordinary memory of this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "shadowattn/device.h"

namespace shadowattn {

class DeviceMemory {
 public:
  std::byte* data() { return memory_.get(); }
  int64_t bytes() const { return bytes_; }

  /// What Device::reserve promises, up to `limit` bytes.
  Status reserve(int64_t bytes, int64_t limit);

 private:
  static constexpr size_t kPage = size_t{2} << 20;  ///< a large page

  struct Free {
    void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{kPage}); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  int64_t bytes_ = 0;
};

}  // namespace shadowattn
