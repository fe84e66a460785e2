#include "openmp_executor.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace shadowattn::plugin {

#ifdef _OPENMP

namespace {

class OpenMpExecutor : public Executor {
 public:
  explicit OpenMpExecutor(int threads) : threads_(threads) {}

  int threads() const override { return threads_; }

  void run(int64_t count, const std::function<void(int64_t index, int thread)>& task) override {
#pragma omp parallel for num_threads(threads_) schedule(dynamic, 1)
    for (int64_t index = 0; index < count; ++index) {
      task(index, omp_get_thread_num());
    }
  }

 private:
  const int threads_;
};

}  // namespace

std::unique_ptr<Executor> make_host_executor(int threads) {
  return std::make_unique<OpenMpExecutor>(threads);
}

#else

std::unique_ptr<Executor> make_host_executor(int threads) { return make_thread_pool(threads); }

#endif

}  // namespace shadowattn::plugin
