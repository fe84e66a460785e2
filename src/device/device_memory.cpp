#include "device/device_memory.h"

#include <sys/mman.h>

#include <string>

#include "device/device_queue.h"

namespace shadowattn {

Status DeviceMemory::reserve(int64_t bytes, int64_t limit) try {
  if (bytes < 0) return Status::invalid_argument("device memory of a negative size");
  if (bytes <= bytes_) return {};
  if (bytes > limit) {
    return {StatusCode::kOutOfMemory, "the device has " + std::to_string(limit) +
                                          " bytes of memory; " + std::to_string(bytes) +
                                          " were asked for"};
  }
  // Freed first: what it held is lost anyway, and both may not fit.
  memory_.reset();
  bytes_ = 0;
  void* p = ::operator new (static_cast<size_t>(bytes), std::align_val_t{kPage});
  // Score rows lie pages apart; with small pages every row of a list would need its own entry of
  // the address cache. Only advice: what the system makes of it does not matter.
  if (static_cast<size_t>(bytes) >= kPage) madvise(p, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  memory_.reset(static_cast<std::byte*>(p));
  bytes_ = bytes;
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

}  // namespace shadowattn
