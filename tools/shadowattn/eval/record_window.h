// The attention of a text's last rows, recorded while the model reads it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>

#include "common/recording.h"
#include "eval/workplace.h"
#include "shadowattn/config.h"

namespace shadowattn::tool::eval {

/// All layers of the model.
std::set<int> all_layers(const LlamaModel& model);

/// By layer, the attention of the last `rows` tokens of `window` (all of a shorter one) in those of
/// `layers` in which llama.cpp calls flash attention; the window is read with the plug-in as
/// `config` has it, which stays. `on_progress` gets the number of tokens read. Throws Failure when
/// no layer could be recorded, and on Ctrl-C.
std::map<int, RecordedCall> record_window(
    const Workplace& workplace, std::span<const llama_token> window, const std::set<int>& layers,
    int64_t rows, const Config& config, const std::function<void(int64_t)>& on_progress = nullptr);

}  // namespace shadowattn::tool::eval
