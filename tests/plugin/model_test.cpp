// The plug-in inside llama.cpp with bookworm-1m, against llama.cpp's own attention.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "llama_session.h"
#include "plugin_host.h"

namespace shadowattn::plugin_test {

std::string model_path() { return SHADOWATTN_MODEL; }

namespace {

// What rounding does to logits: F32 here against F16 products in parts of llama.cpp's kernel.
constexpr double kRounding = 1e-5;
// The 16-bit operands of precision=fast: an NMSE of about 5e-6 in each layer's attention
// (node_test.cpp), of which the residual stream dilutes more than the four layers add.
constexpr double kFastRounding = 2e-5;

const char kDense[] = "mode=dense,precision=f32,min_rows=1";
// The paper's definition: the list of a row depends on nothing but the row.
const char kPerRow[] = "mode=shadow,gate=off,rows=1,share_heads=no,keep=0.2,floor=16,min_rows=1";

Tokens long_prompt() {
  return make_prompt(2400, 1, "The code of amber falcon is velvet.", "The code of amber falcon is");
}

std::vector<Part> three_sequences() {
  return {
      {0, 0,
       make_prompt(500, 2, "The code of amber falcon is velvet.", "The code of amber falcon is")},
      {1, 0,
       make_prompt(130, 3, "The code of silver river is garden.", "The code of silver river is")},
      {2, 0,
       make_prompt(333, 4, "The code of quiet window is bridge.", "The code of quiet window is")}};
}

std::vector<float> last_logits(const std::string& config, const Tokens& prompt) {
  configure(config);
  return Context({}).decode({{0, 0, prompt}})[0];
}

TEST(ModelTest, DenseAgreesWithHost) {
  const Tokens prompt = long_prompt();
  const std::vector<float> host = last_logits("mode=off", prompt);
  reset_report();
  EXPECT_LT(logit_error(host, last_logits("mode=dense,precision=f32", prompt)), kRounding);
  const nlohmann::json layers = report()["layers"];
  ASSERT_EQ(layers.size(), 4U);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(layers[i]["layer"], i);
    EXPECT_GT(layers[i]["rows"], 2000);
    EXPECT_EQ(layers[i]["kept_share"], 1.0);
    EXPECT_EQ(layers[i]["dense_calls"], layers[i]["calls"]);
  }
  EXPECT_LT(logit_error(host, last_logits("mode=dense", prompt)), kFastRounding);
}

TEST(ModelTest, ShadowWithEverythingKeptAgreesWithHost) {
  const Tokens prompt = long_prompt();
  const std::vector<float> host = last_logits("mode=off", prompt);
  EXPECT_LT(logit_error(host, last_logits("mode=shadow,attn_error=0,keep=1,precision=f32", prompt)),
            kRounding);
}

TEST(ModelTest, ShadowKeepsAShareAndFindsTheFact) {
  const Tokens prompt = long_prompt();
  const std::vector<float> host = last_logits("mode=off", prompt);
  reset_report();
  const std::vector<float> sparse = last_logits("gate=off,keep=0.2,rows=1,share_heads=no", prompt);
  EXPECT_EQ(most_likely(sparse), most_likely(host));
  EXPECT_LT(report()["totals"]["kept_share"], 0.6);
  EXPECT_GT(logit_error(host, sparse), 0.0);
}

// llama.cpp rotates queries, keys and values around a quantised cache, and its own kernel quantises
// the queries as well: near, not equal. min_rows=1: generated tokens too.
TEST(ModelTest, QuantisedCache) {
  const Context::Options options = {.cache_type = GGML_TYPE_Q8_0};
  const Tokens prompt = long_prompt();
  configure("mode=off");
  const std::vector<float> host = Context(options).decode({{0, 0, prompt}})[0];
  const Tokens host_answer = Context(options).generate({{0, 0, prompt}}, 24)[0];
  for (const std::string config : {kDense, "mode=shadow,attn_error=0,keep=1,min_rows=1"}) {
    configure(config);
    reset_report();
    const std::vector<float> ours = Context(options).decode({{0, 0, prompt}})[0];
    EXPECT_LT(logit_error(host, ours), 1e-3) << config;
    EXPECT_EQ(Context(options).generate({{0, 0, prompt}}, 24)[0], host_answer) << config;
    EXPECT_GT(report()["totals"]["calls"], 24 * 4);
    EXPECT_TRUE(report()["declined"].empty()) << report().dump(2);
  }
  configure("gate=off,keep=0.2,rows=1,share_heads=no");
  reset_report();
  EXPECT_EQ(most_likely(Context(options).decode({{0, 0, prompt}})[0]), most_likely(host));
  EXPECT_LT(report()["totals"]["kept_share"], 0.6);
}

// Two contexts read the same prompt in step, each with its own config: as if it were alone.
TEST(ModelTest, ContextsOfDifferentConfigsTakeTurns) {
  const Tokens prompt = long_prompt();
  const std::vector<std::string> configs = {kDense, kPerRow};
  std::vector<std::vector<float>> alone;
  for (const std::string& config : configs) alone.push_back(last_logits(config, prompt));
  Context contexts[] = {Context({}), Context({})};
  std::vector<float> logits[2];
  constexpr size_t kChunk = 512;
  for (size_t begin = 0; begin < prompt.size(); begin += kChunk) {
    const size_t end = std::min(begin + kChunk, prompt.size());
    for (size_t i = 0; i < configs.size(); ++i) {
      configure(configs[i]);
      logits[i] = contexts[i].decode({{0, static_cast<llama_pos>(begin),
                                       Tokens(prompt.begin() + static_cast<ptrdiff_t>(begin),
                                              prompt.begin() + static_cast<ptrdiff_t>(end))}})[0];
    }
  }
  for (size_t i = 0; i < configs.size(); ++i) {
    EXPECT_LT(logit_error(alone[i], logits[i]), kRounding) << configs[i];
  }
  EXPECT_GT(logit_error(alone[0], alone[1]), kRounding);
}

TEST(ModelTest, SequencesInOneBatchAnswerAsOneByOne) {
  const std::vector<Part> parts = three_sequences();
  for (const std::string config : {kDense, kPerRow}) {
    configure(config);
    std::vector<Tokens> alone;
    for (Part part : parts) {
      part.sequence = 0;
      alone.push_back(Context({}).generate({part}, 8)[0]);
    }
    for (const bool unified : {true, false}) {
      Context context({.cells = 8192, .sequences = 4, .unified = unified});
      EXPECT_EQ(context.generate(parts, 8), alone) << config << ", unified " << unified;
    }
  }
}

// Chunks of two sequences by turns: their cells alternate in the cache.
TEST(ModelTest, InterleavedCells) {
  const std::vector<Part> parts = three_sequences();
  const auto decode_by_turns = [&](const std::string& config) {
    configure(config);
    Context context({.sequences = 4});
    constexpr size_t kChunk = 45;
    std::vector<std::vector<float>> logits(parts.size());
    for (size_t begin = 0; begin < parts[0].tokens.size(); begin += kChunk) {
      for (size_t i = 0; i < parts.size(); ++i) {
        const Tokens& tokens = parts[i].tokens;
        if (begin >= tokens.size()) continue;
        const size_t end = std::min(begin + kChunk, tokens.size());
        logits[i] = context.decode({{parts[i].sequence, static_cast<llama_pos>(begin),
                                     Tokens(tokens.begin() + static_cast<ptrdiff_t>(begin),
                                            tokens.begin() + static_cast<ptrdiff_t>(end))}})[0];
      }
    }
    return logits;
  };
  const std::vector<std::vector<float>> host = decode_by_turns("mode=off");
  const std::vector<std::vector<float>> dense = decode_by_turns(kDense);
  const std::vector<std::vector<float>> sparse = decode_by_turns(kPerRow);
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_LT(logit_error(host[i], dense[i]), kRounding);
    configure(kPerRow);
    const std::vector<float> alone = Context({}).decode({{0, 0, parts[i].tokens}})[0];
    EXPECT_LT(logit_error(alone, sparse[i]), 1e-3);
  }
}

// What llama-completion does when the context is full: drop the oldest half, move the rest.
TEST(ModelTest, ContextShift) {
  const auto shifted = [](const std::string& config) {
    configure(config);
    Context context({});
    const Tokens prompt = long_prompt();
    context.decode({{0, 0, prompt}});
    const auto size = static_cast<llama_pos>(prompt.size());
    EXPECT_TRUE(llama_memory_seq_rm(context.memory(), 0, 4, size / 2));
    llama_memory_seq_add(context.memory(), 0, size / 2, size, 4 - size / 2);
    const Tokens more =
        make_prompt(200, 9, "The code of silver river is garden.", "The code of silver river is");
    return context.decode({{0, size - size / 2 + 4, more}})[0];
  };
  const std::vector<float> host = shifted("mode=off");
  EXPECT_LT(logit_error(host, shifted(kDense)), kRounding);
  EXPECT_EQ(most_likely(host), most_likely(shifted("gate=off,keep=0.3,rows=1,share_heads=no")));
}

TEST(ModelTest, ContextsInParallelDoNotDisturbEachOther) {
  configure("gate=off,keep=0.2,threads=2");
  const std::vector<Part> parts = three_sequences();
  std::vector<std::vector<float>> alone;
  for (const Part& part : parts) alone.push_back(Context({}).decode({{0, 0, part.tokens}})[0]);
  std::vector<std::vector<float>> together(parts.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < parts.size(); ++i) {
    threads.emplace_back([&, i] {
      together[i] = Context({}).decode({{0, 0, parts[i].tokens}})[0];
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together, alone);
}

int64_t calls_with_auto_flash_attn(const std::string& config, uint32_t sequences, bool unified) {
  configure(config);
  reset_report();
  Context context({.cells = 256 * sequences,
                   .sequences = sequences,
                   .unified = unified,
                   .flash_attn = LLAMA_FLASH_ATTN_TYPE_AUTO});
  context.decode({three_sequences()[1]});
  return report()["totals"]["calls"].get<int64_t>();
}

// llama.cpp tries flash attention with one token per sequence and switches it off when the
// plug-in takes that node: fewer rows than min_rows must stay with the host.
TEST(ModelTest, FlashAttentionStaysOnByItself) {
  EXPECT_GT(calls_with_auto_flash_attn("min_rows=32", 4, true), 0);
  EXPECT_GT(calls_with_auto_flash_attn("min_rows=32", 31, true), 0);
  EXPECT_GT(calls_with_auto_flash_attn("min_rows=32", 40, false), 0);
  EXPECT_GT(calls_with_auto_flash_attn("min_rows=33", 32, true), 0);
  // The limit that docs/plugin.md states.
  EXPECT_EQ(calls_with_auto_flash_attn("min_rows=32", 32, true), 0);
  EXPECT_EQ(calls_with_auto_flash_attn("min_rows=1", 2, true), 0);
  // Left to the plug-in, the first context and any other.
  EXPECT_GT(calls_with_auto_flash_attn("", 31, true), 0);
  EXPECT_GT(calls_with_auto_flash_attn("", 40, false), 0);
  EXPECT_EQ(calls_with_auto_flash_attn("", 32, true), 0);
}

constexpr Context::Options kAuto = {.flash_attn = LLAMA_FLASH_ATTN_TYPE_AUTO};

Part first_tokens(size_t count) {
  const Tokens prompt = long_prompt();
  return {0, 0, Tokens(prompt.begin(), prompt.begin() + static_cast<ptrdiff_t>(count))};
}

/// Calls that the plug-in computes while one token after the other follows `position` tokens.
int64_t calls_of_decoding(Context& context, size_t position, int tokens) {
  reset_report();
  for (int i = 0; i < tokens; ++i) {
    context.decode({{0, static_cast<llama_pos>(position) + i, {1}}});
  }
  const nlohmann::json totals = report()["totals"];
  EXPECT_EQ(totals["rows"], totals["calls"]) << "a call of more than one row";
  return totals["calls"].get<int64_t>();
}

std::set<std::string> decline_reasons() {
  std::set<std::string> reasons;
  const nlohmann::json declined = report()["declined"];
  for (const nlohmann::json& entry : declined) reasons.insert(entry["reason"].get<std::string>());
  return reasons;
}

constexpr int64_t kLayers = 4;
constexpr char kShortContext[] = "few rows and fewer than 1024 keys";

// With min_rows left to the plug-in and llama.cpp's own default of -fa.
TEST(ModelTest, DecodingIsTakenInLongContexts) {
  for (const std::string config : {"mode=dense", "gate=off", ""}) {
    configure(config);
    Context small(kAuto);
    small.decode({first_tokens(500)});
    EXPECT_EQ(calls_of_decoding(small, 500, 3), 0) << config;
    EXPECT_EQ(decline_reasons(), std::set<std::string>{kShortContext});

    Context large(kAuto);
    large.decode({first_tokens(1200)});
    EXPECT_EQ(calls_of_decoding(large, 1200, 3), 3 * kLayers) << config;
    EXPECT_EQ(decline_reasons(), std::set<std::string>{});
  }
}

TEST(ModelTest, DecodingAgreesWithHost) {
  const auto answer = [](const std::string& config) {
    configure(config);
    return Context(kAuto).generate({{0, 0, long_prompt()}}, 16)[0];
  };
  const Tokens host = answer("mode=off");
  EXPECT_EQ(answer("mode=dense"), host);
  EXPECT_EQ(answer("keep=1"), host);
}

// A context that is made while another decodes: its trial graph must find flash attention with the
// host, and the other one is not disturbed.
TEST(ModelTest, ContextsDoNotDisturbEachOther) {
  configure("");
  Context first(kAuto);
  first.decode({first_tokens(1200)});
  {
    Context second(kAuto);
    EXPECT_EQ(calls_of_decoding(first, 1200, 1), kLayers);
    EXPECT_EQ(decline_reasons(), std::set<std::string>{});
    reset_report();
    second.decode({first_tokens(1200)});
    EXPECT_GE(report()["totals"]["calls"], kLayers) << "flash attention is off";
    EXPECT_EQ(calls_of_decoding(second, 1200, 2), 2 * kLayers);
    EXPECT_EQ(calls_of_decoding(first, 1201, 1), kLayers);
    EXPECT_EQ(report()["contexts"].size(), 0U) << "one has computed something since the reset";
  }
  // Another's cache may come to lie where that of a context that is gone was.
  for (int i = 0; i < 3; ++i) {
    Context another(kAuto);
    reset_report();
    another.decode({first_tokens(100)});
    EXPECT_GE(report()["totals"]["calls"], kLayers) << "flash attention is off";
  }
}

TEST(ModelTest, ContextsFreedUnusedBlockNobody) {
  configure("");
  Context first(kAuto);
  first.decode({first_tokens(1200)});
  { const Context unused(kAuto); }
  EXPECT_EQ(calls_of_decoding(first, 1200, 2), 2 * kLayers);
}

TEST(ModelTest, ConfigChangesBetweenGraphsOfOneContext) {
  const Tokens prompt = long_prompt();
  const Tokens first(prompt.begin(), prompt.begin() + 512);
  const Tokens second(prompt.begin() + 512, prompt.begin() + 1024);
  configure("mode=dense");
  Context context({});
  context.decode({{0, 0, first}});
  configure("mode=off");  // the next graph may be the one planned before
  context.decode({{0, 512, second}});
  EXPECT_NE(configure_error("keep=2").find("keep"), std::string::npos);
  EXPECT_EQ(report()["config"]["mode"], "off") << "a refused config changed something";
  EXPECT_NE(configure_error("report=/nonexistent/dir/r.json"), "");
}

}  // namespace
}  // namespace shadowattn::plugin_test
