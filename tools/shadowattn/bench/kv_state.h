// A KV cache as llama.cpp saves it, for contexts that keep values in another order.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace shadowattn::tool {

/// `state`: one sequence of a context with flash attention (llama_state_seq_get_data, sequence 0),
/// whose values lie token by token. Returns the same for a context without flash attention, which
/// wants them channel by channel. None for a state that is not read for sure: another llama.cpp's,
/// several streams, quantised values, cells with more than a position, a cut one.
std::optional<std::vector<uint8_t>> with_values_by_channel(std::span<const uint8_t> state);

}  // namespace shadowattn::tool
