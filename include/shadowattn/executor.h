// Who runs the tiles of a call: our own threads, or those of the program we live in.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace shadowattn {

/// Runs independent tasks. Implementations must let every task run exactly once and return when
/// all are done. Tasks do not throw.
class Executor {
 public:
  virtual ~Executor() = default;

  /// Upper bound on `thread` below; at least 1.
  virtual int threads() const = 0;

  /// Calls task(index, thread) for index 0 … count - 1, each on some thread 0 … threads() - 1.
  /// No two tasks run with the same `thread` at the same time. Not reentrant.
  virtual void run(int64_t count, const std::function<void(int64_t index, int thread)>& task) = 0;
};

/// A pool of `threads` threads (the caller is one of them) that sleep between calls.
/// Null when the threads could not be started.
std::unique_ptr<Executor> make_thread_pool(int threads);

}  // namespace shadowattn
