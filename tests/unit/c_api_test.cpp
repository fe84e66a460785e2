// The C API: the same bits as the C++ one, and an error with a reason for whatever makes no sense.
#include "shadowattn/shadowattn.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "engine_problem.h"
#include "q8_0_tensor.h"
#include "shadowattn/config.h"

namespace shadowattn {
namespace {

using test::Problem;

struct Deleter {
  void operator()(shadowattn_engine* engine) const { shadowattn_free(engine); }
};
using EnginePointer = std::unique_ptr<shadowattn_engine, Deleter>;

EnginePointer create(const char* config) {
  char message[256];
  EnginePointer engine(shadowattn_create(config, message, sizeof message));
  EXPECT_NE(engine, nullptr) << message;
  return engine;
}

shadowattn_tensor tensor(const TensorView& view) {
  return {view.data,      static_cast<int32_t>(view.type),
          view.heads,     view.rows,
          view.dim,       view.head_stride,
          view.row_stride};
}

shadowattn_call call_of(const AttentionCall& call) {
  shadowattn_call c = {};
  c.query = tensor(call.query);
  c.key = tensor(call.key);
  c.value = tensor(call.value);
  c.output = {call.output.data, call.output.heads,       call.output.rows,
              call.output.dim,  call.output.head_stride, call.output.row_stride};
  c.mask.kind = static_cast<int32_t>(call.mask.kind);
  c.mask.causal_offset = call.mask.causal_offset;
  c.mask.additive = tensor(call.mask.additive);
  c.scale = call.scale;
  c.logit_softcap = call.logit_softcap;
  return c;
}

std::vector<float> output_of(const Problem& p) {
  std::vector<float> all;
  for (int64_t h = 0; h < p.shape.heads; ++h) {
    for (int64_t i = 0; i < p.shape.rows; ++i) {
      const float* row = p.call.output.row(h, i);
      all.insert(all.end(), row, row + p.shape.value_dim);
    }
  }
  return all;
}

TEST(CApi, GivesTheBitsOfTheEngine) {
  const test::Q8Tensor q8_key = test::Q8Tensor::random(2, 300, 32, test::Layout::kDense, 5);
  for (const ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kQ8_0}) {
    for (const char* config : {"mode=dense,threads=2", "keep=0.3,floor=0,gate=off,threads=2"}) {
      for (const bool additive : {false, true}) {
        const bool q8 = type == ElementType::kQ8_0;
        Problem p({4, 2, 20, 300, 32, 64, q8 ? ElementType::kF16 : type});
        if (q8) p.call.key = q8_key.view();
        p.call.logit_softcap = 30.0F;
        p.set_causal(280);
        if (additive) {
          p.set_mask([](int64_t, int64_t i, int64_t j) { return j > i + 270 ? -INFINITY : 0.5; });
        }
        Result<Config> parsed = parse_config(config);
        ASSERT_TRUE(parsed.ok());
        Result<Engine> engine = Engine::create(parsed.value().engine);
        ASSERT_TRUE(engine.ok());
        CallReport expected;
        ASSERT_TRUE(engine.value().attend(p.call, &expected).ok());
        const std::vector<float> wanted = output_of(p);
        ASSERT_TRUE(std::all_of(wanted.begin(), wanted.end(), [](float x) { return x == x; }));

        const EnginePointer c = create(config);
        const shadowattn_call call = call_of(p.call);
        shadowattn_report report;
        ASSERT_EQ(shadowattn_attend(c.get(), &call, &report), SHADOWATTN_OK)
            << shadowattn_message(c.get());
        EXPECT_EQ(output_of(p), wanted);
        EXPECT_STREQ(shadowattn_message(c.get()), "");
        EXPECT_EQ(report.kept_pairs, expected.kept_pairs);
        EXPECT_EQ(report.visible_pairs, expected.visible_pairs);
        EXPECT_EQ(std::string(report.dense_reason).empty(),
                  expected.dense_reason == DenseReason::kNone);
        EXPECT_GT(report.wall_ns, 0);
        EXPECT_EQ(shadowattn_attend(c.get(), &call, nullptr), SHADOWATTN_OK);
      }
    }
  }
}

TEST(CApi, RefusesConfigurationsWithAReason) {
  for (const char* config :
       {"nonsense=1", "keep=2", "mode=off", "profile=/nowhere/x.json", "isa=none"}) {
    char message[256] = "unchanged";
    EXPECT_EQ(shadowattn_create(config, message, sizeof message), nullptr) << config;
    EXPECT_GT(std::strlen(message), 10U) << config;
    EXPECT_STRNE(message, "unchanged") << config;
    char cut[5] = "....";
    EXPECT_EQ(shadowattn_create(config, cut, sizeof cut), nullptr);
    EXPECT_EQ(std::strlen(cut), 4U);
    EXPECT_EQ(shadowattn_create(config, nullptr, 0), nullptr);
  }
  char message[8] = "before";
  const EnginePointer fine(shadowattn_create(nullptr, message, sizeof message));
  EXPECT_NE(fine, nullptr);
  EXPECT_STREQ(message, "");
}

TEST(CApi, RefusesCallsWithAReason) {
  const EnginePointer engine = create("threads=1");
  Problem p({2, 1, 4, 50, 32, 32});
  const shadowattn_call fine = call_of(p.call);
  const auto refused = [&](const shadowattn_call* call, shadowattn_status status) {
    shadowattn_report report;
    EXPECT_EQ(shadowattn_attend(engine.get(), call, &report), status);
    EXPECT_STRNE(shadowattn_message(engine.get()), "");
    EXPECT_EQ(report.visible_pairs, 0);
    EXPECT_STREQ(report.dense_reason, "");
  };
  refused(nullptr, SHADOWATTN_INVALID_ARGUMENT);
  shadowattn_call call = fine;
  call.query.type = 99;
  refused(&call, SHADOWATTN_INVALID_ARGUMENT);
  call = fine;
  call.mask.kind = -1;
  refused(&call, SHADOWATTN_INVALID_ARGUMENT);
  call = fine;
  call.layer_number = -3;
  refused(&call, SHADOWATTN_INVALID_ARGUMENT);
  call = fine;
  call.value.rows = 7;
  refused(&call, SHADOWATTN_UNSUPPORTED);
  call = fine;
  call.key.data = nullptr;
  refused(&call, SHADOWATTN_INVALID_ARGUMENT);
  EXPECT_EQ(shadowattn_attend(engine.get(), &fine, nullptr), SHADOWATTN_OK);
  EXPECT_STREQ(shadowattn_message(engine.get()), "");
  EXPECT_EQ(shadowattn_attend(nullptr, &fine, nullptr), SHADOWATTN_INVALID_ARGUMENT);
  EXPECT_STRNE(shadowattn_message(nullptr), "");
  shadowattn_free(nullptr);
}

TEST(CApi, VersionIsANumber) { EXPECT_GT(std::atof(shadowattn_version()), 0.0); }

}  // namespace
}  // namespace shadowattn
