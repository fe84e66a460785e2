#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "shadowattn/executor.h"

namespace shadowattn {
namespace {

using Task = std::function<void(int64_t, int)>;

/// Workers sleep on a condition variable between runs and take indices from one counter within.
class ThreadPool final : public Executor {
 public:
  ~ThreadPool() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  /// May throw std::system_error; the destructor then ends the threads that did start.
  void start(int threads) {
    for (int i = 1; i < threads; ++i) {
      workers_.emplace_back([this, i] { work(i); });
    }
  }

  int threads() const override { return static_cast<int>(workers_.size()) + 1; }

  void run(int64_t count, const Task& task) override {
    if (workers_.empty() || count <= 1) {
      for (int64_t i = 0; i < count; ++i) task(i, 0);
      return;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      task_ = &task;
      count_ = count;
      next_.store(0, std::memory_order_relaxed);
      busy_ = static_cast<int>(workers_.size());
      ++generation_;
    }
    wake_.notify_all();
    drain(task, count, 0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void drain(const Task& task, int64_t count, int thread) {
    for (int64_t i = next_.fetch_add(1, std::memory_order_relaxed); i < count;
         i = next_.fetch_add(1, std::memory_order_relaxed)) {
      task(i, thread);
    }
  }

  void work(int thread) {
    uint64_t seen = 0;
    for (;;) {
      const Task* task = nullptr;
      int64_t count = 0;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
        if (stop_) return;
        seen = generation_;
        task = task_;
        count = count_;
      }
      drain(*task, count, thread);
      const std::lock_guard<std::mutex> lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::vector<std::thread> workers_;
  const Task* task_ = nullptr;
  int64_t count_ = 0;
  uint64_t generation_ = 0;
  int busy_ = 0;
  bool stop_ = false;
  std::atomic<int64_t> next_{0};
};

}  // namespace

std::unique_ptr<Executor> make_thread_pool(int threads) {
  try {
    auto pool = std::make_unique<ThreadPool>();
    pool->start(threads);
    return pool;
  } catch (const std::exception&) {  // no memory or no more threads
    return nullptr;
  }
}

}  // namespace shadowattn
