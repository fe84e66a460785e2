// Two texts read at once in one context, a token of each by turns: each as if it were alone.
#include <gtest/gtest.h>

#include "../plugin/plugin_host.h"
#include "real_model.h"

namespace shadowattn::real_test {
namespace {

using plugin_test::configure;
using plugin_test::Order;
using plugin_test::report;
using plugin_test::reset_report;

constexpr size_t kScored = 130;

// Dense and with every token in the lists: rounding, and the noise of a mean. Default lists may
// differ from dense attention as two settings may that nobody can tell apart.
constexpr double kNoise = 1.5;
constexpr double kIndistinguishable = 2;

// The first is ahead, so that rows of one batch see different cells of separate caches too.
constexpr size_t kAhead = 64;

// Whichever way llama.cpp cuts what follows into ubatches, no call has fewer than 32 rows, which we
// leave to it: 512 + 88 by turns; 2 x 256, 2 x 44 on separate caches.
std::vector<Part> two_sequences() {
  return {{0, 0, text_tokens(0, kAhead + 300)}, {1, 0, text_tokens(1200, 300)}};
}

// Of both sequences, one after the other.
Rows joined(const std::vector<Rows>& sequences) {
  Rows all;
  for (const Rows& rows : sequences) all.insert(all.end(), rows.begin(), rows.end());
  return all;
}

Rows read_alone(llama_flash_attn_type flash_attn) {
  std::vector<Rows> alone;
  for (const Part& part : two_sequences()) {
    alone.push_back(read_by_host(part.tokens, kScored, flash_attn));
  }
  return joined(alone);
}

Rows read_together(const std::string& config, bool unified) {
  configure(config);
  Context context({.cells = 2048, .sequences = 2, .unified = unified});
  reset_report();
  context.decode({{0, 0, text_tokens(0, kAhead)}});
  std::vector<Part> parts = two_sequences();
  parts[0].position = kAhead;
  parts[0].tokens.erase(parts[0].tokens.begin(), parts[0].tokens.begin() + kAhead);
  return joined(context.decode_rows(parts, kScored, Order::kByTurns));
}

TEST(RealSequences, EachAsIfAlone) {
  struct Case {
    std::string config;
    double bound;  // times what rounding does
    bool sparse;
  };
  const Case cases[] = {
      {"mode=dense,precision=f32", kNoise, false},
      {"gate=off,floor=64,attn_error=0,keep=1", kNoise, false},
      {"gate=off,floor=64", kIndistinguishable, true},
  };
  const Rows alone = read_alone(LLAMA_FLASH_ATTN_TYPE_ENABLED);
  const double rounding = mean_kld(alone, read_alone(LLAMA_FLASH_ATTN_TYPE_DISABLED));
  ASSERT_LT(rounding, kLargestRounding);
  for (const Case& c : cases) {
    for (const bool unified : {true, false}) {
      const std::string name = c.config + ", unified " + std::to_string(unified);
      const double kld = mean_kld(alone, read_together(c.config, unified));
      EXPECT_LT(kld, c.bound * rounding) << name;
      const nlohmann::json all = report();
      EXPECT_GE(all["totals"]["calls"], layers()) << name;
      EXPECT_EQ(all["totals"]["kept_share"] < 0.95, c.sparse) << name;
      EXPECT_TRUE(all["declined"].empty()) << name << all["declined"].dump(2);
    }
  }
}

}  // namespace
}  // namespace shadowattn::real_test
