// What a context with flash attention has read, taken over by one without.
#include "bench/kv_state.h"

#include <gtest/gtest.h>

#include <vector>

#include "llama_session.h"
#include "plugin_host.h"

namespace shadowattn::plugin_test {
namespace {

// The two kinds of llama.cpp's attention round differently.
constexpr double kRounding = 1e-4;

std::vector<uint8_t> saved(llama_context* context) {
  std::vector<uint8_t> state(llama_state_seq_get_size(context, 0));
  EXPECT_EQ(llama_state_seq_get_data(context, state.data(), state.size(), 0), state.size());
  return state;
}

TEST(KvStateTest, IsTakenOverWithoutFlashAttention) {
  configure("mode=off");
  const Tokens prompt =
      make_prompt(700, 5, "The code of amber falcon is velvet.", "The code of amber falcon");
  const Part next = {0, static_cast<llama_pos>(prompt.size()), make_prompt(3, 6, "", "is")};
  const Context::Options without = {.flash_attn = LLAMA_FLASH_ATTN_TYPE_DISABLED};

  Context reader({});
  reader.decode({{0, 0, prompt}});
  const auto state = shadowattn::tool::with_values_by_channel(saved(reader.get()));
  ASSERT_TRUE(state.has_value());
  Context taken_over(without);
  ASSERT_EQ(llama_state_seq_set_data(taken_over.get(), state->data(), state->size(), 0),
            state->size());

  Context own(without);
  own.decode({{0, 0, prompt}});
  EXPECT_EQ(state->size(), saved(own.get()).size());
  EXPECT_LT(logit_error(own.decode({next})[0], taken_over.decode({next})[0]), kRounding);
}

}  // namespace
}  // namespace shadowattn::plugin_test
