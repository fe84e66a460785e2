// How likely a model finds a given continuation, by one method of attention.
#pragma once

#include <span>

#include "eval/workplace.h"

namespace shadowattn::tool::eval {

/// Sum of -ln p over `tokens`, in nats, each given all tokens before it: those in `context`, then
/// `before`, then `tokens` up to it. All but the last of them are appended to `context`, at most
/// `ubatch` at once. Throws Failure, also on Ctrl-C.
double continuation_nll(MethodContext& context, int ubatch, llama_token before,
                        std::span<const llama_token> tokens);

}  // namespace shadowattn::tool::eval
