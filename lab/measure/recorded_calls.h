// The attention calls of recordings, with what it takes to compute on them.
#pragma once

#include <memory>
#include <string>

#include "common/failure.h"
#include "common/recording.h"
#include "measure/attention_problem.h"
#include "openmp_executor.h"

namespace shadowattn::tool::measure {

/// Needs a LlamaRuntime that outlives it. Throws Failure.
class RecordedCalls {
 public:
  explicit RecordedCalls(int threads)
      : cpu_(threads), executor_(plugin::make_host_executor(threads)) {
    if (!executor_) {
      throw Failure("cannot start " + std::to_string(threads) + " threads");
    }
  }

  Executor& executor() { return *executor_; }

  /// step(call) for every layer of a recording; returns its number of tokens.
  template <typename Step>
  size_t for_each(const std::string& path, const Step& step) {
    const Recording recording = load_recording(path);
    for (const RecordedCall& recorded : recording.calls) {
      step(AttentionProblem(recorded, cpu_).call());
    }
    return recording.tokens.size();
  }

 private:
  GgmlCpu cpu_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace shadowattn::tool::measure
