#include "device/npu_sim_faults.h"

namespace shadowattn {

std::chrono::nanoseconds late_after(std::chrono::milliseconds timeout) {
  return 4 * std::chrono::nanoseconds(timeout);
}

void spoil_scores(int8_t* scores, int64_t count) {
  for (int64_t i = 0; i < count; ++i) scores[i] = static_cast<int8_t>(~scores[i]);
}

std::string fault_message(const char* what) {
  return std::string("npu-sim: ") + what + " (a fault that was asked for)";
}

}  // namespace shadowattn
