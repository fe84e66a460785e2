#include "shadowattn/trace.h"

namespace shadowattn {

const char* name_of(TraceStage stage) {
  switch (stage) {
    case TraceStage::kPrepare:
      return "prepare";
    case TraceStage::kDevice:
      return "device";
    case TraceStage::kWait:
      return "wait";
    case TraceStage::kPilot:
      return "pilot";
    case TraceStage::kSelect:
      return "select";
    case TraceStage::kAttend:
      return "attend";
  }
  return "";
}

}  // namespace shadowattn
