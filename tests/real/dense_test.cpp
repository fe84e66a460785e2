// The plug-in's dense attention against llama.cpp's own.
#include <gtest/gtest.h>

#include "../plugin/plugin_host.h"
#include "real_model.h"

namespace shadowattn::real_test {
namespace {

using plugin_test::report;

constexpr size_t kTokens = 700;
constexpr int64_t kUbatches = 2;  // of 512 tokens
constexpr size_t kScored = 350;

// As near to llama.cpp's two attentions as they are to each other, but for the noise of means over
// so many positions (standard errors of about a tenth).
constexpr double kNoise = 1.5;

TEST(RealDense, AgreesWithHost) {
  const Tokens tokens = text_tokens(0, kTokens);
  const Rows flash = read_by_host(tokens, kScored, LLAMA_FLASH_ATTN_TYPE_ENABLED);
  const Rows separate = read_by_host(tokens, kScored, LLAMA_FLASH_ATTN_TYPE_DISABLED);
  const double rounding = mean_kld(flash, separate);
  ASSERT_GT(rounding, 0.0);
  ASSERT_LT(rounding, kLargestRounding);
  for (const std::string config : {"mode=dense,precision=f32", "mode=dense"}) {
    const Rows ours = read(config, tokens, kScored);
    const nlohmann::json all = report();
    EXPECT_EQ(all["totals"]["calls"], kUbatches * layers());
    EXPECT_EQ(all["totals"]["dense_calls"], all["totals"]["calls"]);
    EXPECT_TRUE(all["declined"].empty()) << all["declined"].dump(2);
    EXPECT_LT(mean_kld(flash, ours), kNoise * rounding) << config;
    EXPECT_LT(mean_kld(separate, ours), kNoise * rounding) << config;
  }
}

}  // namespace
}  // namespace shadowattn::real_test
