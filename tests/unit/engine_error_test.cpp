// Whatever the caller does wrong comes back as a status with a message; nothing crashes.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "engine_problem.h"

namespace shadowattn {
namespace {

using test::Problem;

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNanF = std::numeric_limits<float>::quiet_NaN();

void expect_error(const Status& status, StatusCode code, const std::string& what) {
  EXPECT_EQ(status.code(), code) << what << ": " << status.message();
  EXPECT_FALSE(status.message().empty()) << what;
  EXPECT_EQ(status.message().find('\n'), std::string::npos) << what;
}

// --- Options ------------------------------------------------------------------------------------

TEST(EngineOptionsTest, EveryBadOptionIsRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<std::string, std::function<void(EngineOptions&)>>> cases = {
      {"keep 0", [](EngineOptions& o) { o.keep = 0.0; }},
      {"keep -0.1", [](EngineOptions& o) { o.keep = -0.1; }},
      {"keep 1.001", [](EngineOptions& o) { o.keep = 1.001; }},
      {"keep NaN", [nan](EngineOptions& o) { o.keep = nan; }},
      {"keep inf", [](EngineOptions& o) { o.keep = test::kInfinity; }},
      {"floor", [](EngineOptions& o) { o.keep_floor = -1; }},
      {"sink", [](EngineOptions& o) { o.sink = std::numeric_limits<int32_t>::min(); }},
      {"recent", [](EngineOptions& o) { o.recent = -1; }},
      {"rows 0", [](EngineOptions& o) { o.rows_per_list = 0; }},
      {"rows 65", [](EngineOptions& o) { o.rows_per_list = 65; }},
      {"rows -1", [](EngineOptions& o) { o.rows_per_list = -1; }},
      {"threads 0", [](EngineOptions& o) { o.threads = 0; }},
      {"threads -1", [](EngineOptions& o) { o.threads = -1; }},
      {"threads 1025", [](EngineOptions& o) { o.threads = 1025; }},
      {"isa", [](EngineOptions& o) { o.isa = "quantum"; }},
  };
  for (const auto& [name, spoil] : cases) {
    EngineOptions options;
    spoil(options);
    const Result<Engine> engine = Engine::create(options);
    ASSERT_FALSE(engine.ok()) << name;
    expect_error(engine.status(), StatusCode::kInvalidArgument, name);
  }
}

TEST(EngineOptionsTest, ExtremeOptionsThatAreAllowed) {
  Problem p({2, 1, 5, 60, 32, 32});
  p.set_causal(55);
  for (const double keep : {5e-324, 1e-300, 0.5, 1.0}) {
    for (const int32_t tokens : {0, 1, 1 << 30, std::numeric_limits<int32_t>::max()}) {
      for (const int32_t rows : {1, 64}) {
        Engine engine = test::make_engine({.keep = keep,
                                           .keep_floor = tokens % 7,
                                           .sink = tokens,
                                           .recent = tokens,
                                           .rows_per_list = rows});
        const CallReport report = test::attend(engine, p);
        EXPECT_GE(report.kept_pairs, 10);
        EXPECT_LE(report.kept_pairs, report.visible_pairs);
      }
    }
  }
}

TEST(EngineOptionsTest, OptionsAndFeaturesAreAsAsked) {
  const Engine engine = test::make_engine({.keep = 0.25, .sink = 7, .threads = 3, .isa = "scalar"});
  EXPECT_EQ(engine.options().keep, 0.25);
  EXPECT_EQ(engine.options().sink, 7);
  EXPECT_EQ(engine.options().threads, 3);
  EXPECT_EQ(engine.features(), CpuFeatures());
  EXPECT_EQ(test::make_engine({}).features(), detect_cpu_features());
}

// --- Calls --------------------------------------------------------------------------------------

struct BadCall {
  std::string name;
  StatusCode code;
  std::function<void(Problem&)> spoil;
};

/// What `supports` must refuse too: it needs no data.
std::vector<BadCall> bad_shapes() {
  constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
  constexpr StatusCode kUnsupported = StatusCode::kUnsupported;
  std::vector<BadCall> cases = {
      {"query f16", kUnsupported, [](Problem& p) { p.call.query.type = ElementType::kF16; }},
      {"key of no type", kUnsupported,
       [](Problem& p) { p.call.key.type = static_cast<ElementType>(7); }},
      {"value of no type", kUnsupported,
       [](Problem& p) { p.call.value.type = static_cast<ElementType>(-1); }},
      {"mask of no type", kUnsupported,
       [](Problem& p) { p.call.mask.additive.type = static_cast<ElementType>(2); }},
      {"mask of no kind", kInvalid,
       [](Problem& p) { p.call.mask.kind = static_cast<MaskKind>(9); }},
      {"heads no multiple", kInvalid,
       [](Problem& p) { p.call.query.heads = p.call.output.heads = 3; }},
      {"no heads", kInvalid, [](Problem& p) { p.call.query.heads = p.call.output.heads = 0; }},
      {"no KV heads", kInvalid, [](Problem& p) { p.call.key.heads = p.call.value.heads = 0; }},
      {"value heads", kUnsupported, [](Problem& p) { p.call.value.heads = 1; }},
      {"value rows", kUnsupported, [](Problem& p) { p.call.value.rows -= 1; }},
      {"query dim", kInvalid, [](Problem& p) { p.call.query.dim = 48; }},
      {"odd dim", kUnsupported, [](Problem& p) { p.call.query.dim = p.call.key.dim = 24; }},
      {"dim 0", kUnsupported, [](Problem& p) { p.call.query.dim = p.call.key.dim = 0; }},
      {"dim -16", kUnsupported, [](Problem& p) { p.call.query.dim = p.call.key.dim = -16; }},
      {"dim 272", kUnsupported, [](Problem& p) { p.call.query.dim = p.call.key.dim = 272; }},
      {"value dim 8", kUnsupported, [](Problem& p) { p.call.value.dim = p.call.output.dim = 8; }},
      {"value dim 512", kUnsupported,
       [](Problem& p) { p.call.value.dim = p.call.output.dim = 512; }},
      {"output heads", kInvalid, [](Problem& p) { p.call.output.heads = 2; }},
      {"output rows", kInvalid, [](Problem& p) { p.call.output.rows = 4; }},
      {"output dim", kInvalid, [](Problem& p) { p.call.output.dim = 16; }},
      {"softcap negative", kInvalid, [](Problem& p) { p.call.logit_softcap = -1.0F; }},
      {"softcap NaN", kInvalid, [](Problem& p) { p.call.logit_softcap = kNanF; }},
      {"softcap inf", kInvalid, [](Problem& p) { p.call.logit_softcap = kInf; }},
      {"mask keys", kInvalid, [](Problem& p) { p.call.mask.additive.dim -= 1; }},
      {"mask rows", kInvalid, [](Problem& p) { p.call.mask.additive.rows -= 1; }},
      {"mask heads", kInvalid, [](Problem& p) { p.call.mask.additive.heads = 3; }},
      {"mask no heads", kInvalid, [](Problem& p) { p.call.mask.additive.heads = 0; }},
  };
  for (const float scale : {kNanF, kInf, -kInf}) {
    cases.push_back({"scale", kInvalid, [scale](Problem& p) { p.call.scale = scale; }});
  }
  for (const int64_t size : {int64_t{-1}, kMin, kMax, int64_t{1} << 30, int64_t{1} << 40}) {
    cases.push_back({"rows " + std::to_string(size), kInvalid, [size](Problem& p) {
                       p.call.query.rows = p.call.output.rows = p.call.mask.additive.rows = size;
                     }});
    cases.push_back({"keys " + std::to_string(size), kInvalid, [size](Problem& p) {
                       p.call.key.rows = p.call.value.rows = p.call.mask.additive.dim = size;
                     }});
    cases.push_back({"heads " + std::to_string(size), kInvalid, [size](Problem& p) {
                       p.call.query.heads = p.call.output.heads = size;
                       p.call.key.heads = p.call.value.heads = size;
                     }});
  }
  for (const int64_t offset : {kMin, kMin + 1, kMax, int64_t{1} << 31, -(int64_t{1} << 31)}) {
    cases.push_back({"offset " + std::to_string(offset), kInvalid,
                     [offset](Problem& p) { p.set_causal(offset); }});
  }
  return cases;
}

std::vector<BadCall> bad_pointers() {
  constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
  return {
      {"query data", kInvalid, [](Problem& p) { p.call.query.data = nullptr; }},
      {"key data", kInvalid, [](Problem& p) { p.call.key.data = nullptr; }},
      {"value data", kInvalid, [](Problem& p) { p.call.value.data = nullptr; }},
      {"output data", kInvalid, [](Problem& p) { p.call.output.data = nullptr; }},
      {"mask data", kInvalid, [](Problem& p) { p.call.mask.additive.data = nullptr; }},
  };
}

Problem good_call() {
  Problem p({4, 2, 5, 60, 32, 32});
  p.set_mask([](int64_t, int64_t i, int64_t j) { return j <= i + 55 ? 0.0 : -test::kInfinity; }, 1,
             ElementType::kF32);
  return p;
}

TEST(EngineErrorTest, BadShapesAreRefusedWithAReason) {
  Engine engine = test::make_engine({.keep = 0.2, .keep_floor = 0});
  ASSERT_TRUE(engine.attend(good_call().call).ok());
  for (const BadCall& bad : bad_shapes()) {
    Problem p = good_call();
    bad.spoil(p);
    p.output.fill(7.0);
    expect_error(engine.attend(p.call), bad.code, bad.name);
    EXPECT_EQ(test::element(p.output.view(), 0, 0, 0), 7.0F) << bad.name << ": output written";
    p.call.query.data = p.call.key.data = p.call.value.data = nullptr;
    p.call.output.data = nullptr;
    p.call.mask.additive.data = nullptr;
    expect_error(Engine::supports(p.call), bad.code, bad.name);
  }
}

TEST(EngineErrorTest, MissingDataIsRefused) {
  Engine engine = test::make_engine({.keep = 0.2, .keep_floor = 0});
  for (const BadCall& bad : bad_pointers()) {
    Problem p = good_call();
    bad.spoil(p);
    expect_error(engine.attend(p.call), bad.code, bad.name);
    EXPECT_TRUE(Engine::supports(p.call).ok()) << bad.name;
  }
}

TEST(EngineErrorTest, AnEmptyCallIsRefused) {
  Engine engine = test::make_engine({});
  EXPECT_FALSE(engine.attend(AttentionCall()).ok());
  EXPECT_FALSE(Engine::supports(AttentionCall()).ok());
}

/// Spoils one field. Sizes only shrink or become impossible, so that a call that is accepted never
/// reads outside its operands.
void spoil(Problem& p, test::Random& random) {
  const int64_t sizes[] = {-1, 0, 1, 2, 3, 16, kMin, kMax, int64_t{1} << 31, -(int64_t{1} << 33)};
  const auto size = [&](int64_t real) {
    const int64_t drawn = sizes[random.integer(0, std::ssize(sizes) - 1)];
    return drawn <= real || drawn > (int64_t{1} << 30) ? drawn : real;
  };
  const float floats[] = {0.0F, -1.0F, kNanF, kInf, -kInf, 1e38F, 0x1p-149F, 30.0F};
  const auto number = [&] { return floats[random.integer(0, std::ssize(floats) - 1)]; };
  TensorView* const views[] = {&p.call.query, &p.call.key, &p.call.value, &p.call.mask.additive};
  TensorView& view = *views[random.integer(0, 3)];
  OutputView& out = p.call.output;
  switch (random.integer(0, 12)) {
    case 0:
      view.data = nullptr;
      break;
    case 1:
      view.heads = size(view.heads);
      break;
    case 2:
      view.rows = size(view.rows);
      break;
    case 3:
      view.dim = size(view.dim);
      break;
    case 4:
      view.row_stride = 0;
      break;
    case 5:
      view.head_stride = 0;
      break;
    case 6:  // an f16 view of f32 memory lies within it
      view.type = static_cast<ElementType>(random.integer(0, 3));
      break;
    case 7:
      p.call.mask.kind = static_cast<MaskKind>(random.integer(-1, 3));
      break;
    case 8:
      p.call.mask.causal_offset = sizes[random.integer(0, std::ssize(sizes) - 1)];
      break;
    case 9:
      (random.chance(0.5) ? p.call.scale : p.call.logit_softcap) = number();
      break;
    case 10:
      (random.chance(0.5) ? out.rows : out.heads) = size(out.rows);
      break;
    case 11:
      p.set_sinks({number(), number(), number(), number()});
      break;
    default:  // the same size everywhere: gets past the checks of equality
      p.call.key.rows = p.call.value.rows = p.call.mask.additive.dim = size(60);
      p.call.query.rows = out.rows = size(5);
      break;
  }
}

TEST(EngineErrorTest, RandomCallsNeverCrash) {
  std::vector<Engine> engines;
  engines.push_back(test::make_engine({.mode = Mode::kDense}));
  engines.push_back(test::make_engine({.keep = 0.2, .keep_floor = 0, .recent = 3, .threads = 2}));
  engines.push_back(
      test::make_engine({.keep = 0.2, .keep_floor = 0, .rows_per_list = 1, .share_heads = false}));
  test::Random random(2024);
  int64_t accepted = 0;
  constexpr int64_t kCalls = 1500;
  for (int64_t i = 0; i < kCalls; ++i) {
    Problem p = good_call();
    if (random.chance(0.3)) p.set_causal(55);
    for (int64_t n = random.integer(1, 3); n > 0; --n) spoil(p, random);
    Engine& engine = engines[static_cast<size_t>(i % 3)];
    CallReport report;
    const Status status = engine.attend(p.call, &report);
    if (status.ok()) {
      ++accepted;
      EXPECT_TRUE(Engine::supports(p.call).ok());
      EXPECT_LE(report.kept_pairs, report.visible_pairs);
      continue;
    }
    EXPECT_FALSE(status.message().empty());
    EXPECT_TRUE(status.code() == StatusCode::kInvalidArgument ||
                status.code() == StatusCode::kUnsupported)
        << status.message();
  }
  EXPECT_GT(accepted, kCalls / 20);  // the fuzzer also gets through
  EXPECT_LT(accepted, kCalls * 19 / 20);
}

TEST(EngineErrorTest, AGoodCallWorksAfterBadOnes) {
  Engine engine = test::make_engine({.keep = 0.2, .keep_floor = 0});
  Problem p = good_call();
  test::attend(engine, p);
  const std::vector<uint32_t> expected = test::bits(p);
  for (const BadCall& bad : bad_shapes()) {
    Problem spoiled = good_call();
    bad.spoil(spoiled);
    EXPECT_FALSE(engine.attend(spoiled.call).ok());
  }
  test::attend(engine, p);
  EXPECT_EQ(test::bits(p), expected);
}

}  // namespace
}  // namespace shadowattn
