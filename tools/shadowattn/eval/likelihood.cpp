#include "eval/likelihood.h"

#include <algorithm>
#include <vector>

#include "eval/kld_statistics.h"

namespace shadowattn::tool::eval {

double continuation_nll(MethodContext& context, int ubatch, llama_token before,
                        std::span<const llama_token> tokens) {
  if (tokens.empty()) return 0;
  std::vector<llama_token> given = {before};
  given.insert(given.end(), tokens.begin(), tokens.end() - 1);
  const auto step = static_cast<size_t>(ubatch);
  double sum = 0;
  for (size_t start = 0; start < given.size(); start += step) {
    const size_t count = std::min(step, given.size() - start);
    context.append_scored(std::span(given).subspan(start, count), 0);
    for (size_t i = 0; i < count; ++i) {
      sum += token_nll(context.llama().logits(i), static_cast<size_t>(tokens[start + i]));
    }
  }
  return sum;
}

}  // namespace shadowattn::tool::eval
