// A recorded attention call as a call of the engine.
#pragma once

#include <vector>

#include "common/recording.h"
#include "shadowattn/attention.h"

namespace shadowattn::tool::eval {

/// Views `recorded`, which must outlive it, and holds the output.
class AttentionOperands {
 public:
  /// Throws Failure when the engine has no such attention.
  explicit AttentionOperands(const RecordedCall& recorded);

  AttentionCall call() const { return call_; }
  /// [n_q][H][D_v], of the last computation.
  const std::vector<float>& output() const { return output_; }

 private:
  AttentionCall call_;
  std::vector<float> output_;
};

}  // namespace shadowattn::tool::eval
