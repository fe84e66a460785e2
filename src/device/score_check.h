// Looks at a few of a device's scores: are they right, are they cut off, do they tie?
#pragma once

#include <cstdint>

#include "device/device_scores.h"
#include "shadowattn/device.h"
#include "shadowattn/engine.h"

namespace shadowattn {

/// INT8 operands as the device got them: queries [rows][dim], keys [keys][dim] from the first key
/// on.
struct DeviceOperandView {
  const int8_t* queries = nullptr;
  const int8_t* keys = nullptr;
  int64_t dim = 0;
  Requantisation requantisation;
};

/// Computes 64 scores of one row, chosen by `seed`, in each tile of keys again. False when any
/// differs. Adds to report->checked_scores.
bool scores_are_right(const DeviceScores& scores, const DeviceOperandView& operands, uint64_t seed,
                      DeviceReport* report);

/// How many of the scores of real rows are no score: -128 is beyond what a graph can give. Adds to
/// report->invalid_scores.
int64_t count_invalid(const DeviceScores& scores, DeviceReport* report);

/// Counts the saturated scores of one row, chosen by `seed`, and the ties at the end of its top-k.
/// Rows whose mask is not plain are left out.
void count_saturated(const DeviceScores& scores, const EngineOptions& options,
                     const Visibility& visibility, uint64_t seed, DeviceReport* report);

}  // namespace shadowattn
