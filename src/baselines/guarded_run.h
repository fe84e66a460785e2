// Tasks that may run out of memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <new>

#include "shadowattn/executor.h"

namespace shadowattn {

/// Executor::run for tasks that may throw std::bad_alloc, which executors do not allow: it is
/// thrown again once all tasks are done.
inline void guarded_run(Executor& executor, int64_t count,
                        const std::function<void(int64_t index, int thread)>& task) {
  std::atomic<bool> failed{false};
  executor.run(count, [&](int64_t index, int thread) {
    try {
      task(index, thread);
    } catch (const std::bad_alloc&) {
      failed.store(true, std::memory_order_relaxed);
    }
  });
  if (failed.load(std::memory_order_relaxed)) throw std::bad_alloc();
}

}  // namespace shadowattn
