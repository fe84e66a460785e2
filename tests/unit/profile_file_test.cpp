// Profile files: there and back, every way to get one wrong, and damage of every kind.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include "plan/profile_lookup.h"
#include "shadowattn/profile.h"

namespace shadowattn {
namespace {

Profile sample_profile() {
  Profile profile;
  profile.note = "4,096 tokens of \"a book\", by mass";
  profile.model = {"qwen2", "fnv1a64:0123456789abcdef", 1'000'000};
  profile.attn_error = 0.05;
  LayerProfile layer;
  layer.head_dim = 64;
  layer.importance = 0.25;
  layer.heads = {{1.0, 0.5}, {0.1, 0.0}, {0.3333333333333333, 1e-9}, {1e-6, 3.0}};
  KeptCurve curve;
  curve.lists = {.rows_per_list = 4, .share_heads = false};
  curve.keys = 4096;
  curve.attn_error = {0.01, 0.05, 0.2};
  curve.kept = {0.5, 0.25, 0.125};
  curve.nanoseconds = 1.25;
  layer.kv_heads = {{{.dense = true}, {curve, KeptCurve{}}}, {{.rows_per_list = 1}, {}}};
  layer.query_scales = {0.1F, 0.7F, 1.5F};
  layer.key_scales = {std::numeric_limits<float>::min(), 0x1p127F};
  profile.layers = {layer, LayerProfile{}, layer};
  return profile;
}

std::string sample_text() { return to_json(sample_profile()); }

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return at == std::string::npos ? text : text.replace(at, what.size(), by);
}

void expect_error(const std::string& text, const std::string& message) {
  const auto profile = parse_profile(text);
  ASSERT_FALSE(profile.ok()) << message;
  EXPECT_EQ(profile.status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(profile.status().message(), message);
}

/// The sample with one thing changed.
void expect_error(const std::string& what, const std::string& by, const std::string& message) {
  expect_error(replaced(sample_text(), what, by), message);
}

void expect_equal(const Profile& a, const Profile& b) {
  EXPECT_EQ(a.note, b.note);
  EXPECT_EQ(a.model.architecture, b.model.architecture);
  EXPECT_EQ(a.model.checksum, b.model.checksum);
  EXPECT_EQ(a.model.parameters, b.model.parameters);
  EXPECT_EQ(a.attn_error, b.attn_error);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t l = 0; l < a.layers.size(); ++l) {
    const LayerProfile& x = a.layers[l];
    const LayerProfile& y = b.layers[l];
    EXPECT_EQ(x.head_dim, y.head_dim);
    EXPECT_EQ(x.importance, y.importance);
    EXPECT_EQ(x.query_scales, y.query_scales);
    EXPECT_EQ(x.key_scales, y.key_scales);
    ASSERT_EQ(x.heads.size(), y.heads.size());
    for (size_t h = 0; h < x.heads.size(); ++h) {
      EXPECT_EQ(x.heads[h].keep, y.heads[h].keep);
      EXPECT_EQ(x.heads[h].importance, y.heads[h].importance);
    }
    ASSERT_EQ(x.kv_heads.size(), y.kv_heads.size());
    for (size_t h = 0; h < x.kv_heads.size(); ++h) {
      EXPECT_EQ(x.kv_heads[h].lists, y.kv_heads[h].lists);
      ASSERT_EQ(x.kv_heads[h].curves.size(), y.kv_heads[h].curves.size());
      for (size_t c = 0; c < x.kv_heads[h].curves.size(); ++c) {
        const KeptCurve& m = x.kv_heads[h].curves[c];
        const KeptCurve& n = y.kv_heads[h].curves[c];
        EXPECT_EQ(m.lists, n.lists);
        EXPECT_EQ(m.keys, n.keys);
        EXPECT_EQ(m.attn_error, n.attn_error);
        EXPECT_EQ(m.kept, n.kept);
        EXPECT_EQ(m.nanoseconds, n.nanoseconds);
      }
    }
  }
}

TEST(ProfileFile, ThereAndBack) {
  const auto back = parse_profile(sample_text());
  ASSERT_TRUE(back.ok()) << back.status().message();
  expect_equal(sample_profile(), back.value());
  EXPECT_EQ(to_json(back.value()), sample_text());
}

TEST(ProfileFile, RandomNumbersComeBackBitForBit) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> share(1e-9, 1.0);
  Profile profile = sample_profile();
  for (int i = 0; i < 1000; ++i) {
    profile.layers[0].heads[0].keep = share(random);
    profile.layers[0].importance = std::exp2(200 * share(random) - 100);
    profile.layers[0].query_scales = {static_cast<float>(std::exp2(253 * share(random) - 126))};
    const auto back = parse_profile(to_json(profile));
    ASSERT_TRUE(back.ok()) << back.status().message();
    expect_equal(profile, back.value());
  }
}

TEST(ProfileFile, ShortLinesAndPlainDecimals) {
  const std::string text = sample_text();
  EXPECT_NE(text.find("\"query_scales\": [0.1,0.7,1.5]"), std::string::npos) << text;
  EXPECT_EQ(text.rfind("{\n \"format\": \"shadowattn-profile\",\n \"version\": 1,", 0), 0U) << text;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    EXPECT_LE(end - at, 120U);
    at = end + 1;
  }
}

TEST(ProfileFile, OnlyWhatIsNeeded) {
  const auto profile = parse_profile(R"({"format": "shadowattn-profile", "version": 1,
      "model": {"architecture": "a", "checksum": "b", "parameters": 3}, "attn_error": 0,
      "layers": [{"head_dim": 8, "heads": [{"keep": 0.5}, {"keep": 1}],
      "kv_heads": [{"lists": {"dense": false, "rows_per_list": 2, "share_heads": false}}]}]})");
  ASSERT_TRUE(profile.ok()) << profile.status().message();
  EXPECT_EQ(profile.value().layers[0].heads[0].keep, 0.5);
  EXPECT_EQ(profile.value().layers[0].kv_heads[0].lists.rows_per_list, 2);
  EXPECT_EQ(profile.value().attn_error, 0.0);
}

TEST(ProfileFile, SaysWhatIsWrongWhere) {
  expect_error("\"version\": 1", "\"version\": 2", "version must be 1, not 2");
  expect_error("\"version\": 1", "\"version\": 1.0", "version must be 1, not 1.0");
  expect_error("\"version\": 1,", "", "the profile lacks \"version\"");
  expect_error("shadowattn-profile", "shadowattn-profil",
               "the profile must have \"format\": \"shadowattn-profile\"; this is another file");
  expect_error("\"keep\":0.1,", "\"keep\":1.5,",
               "layers[0].heads[1].keep must be in (0, 1], not 1.5");
  expect_error("\"keep\":0.1,", "\"keep\":0,", "layers[0].heads[1].keep must be in (0, 1], not 0");
  expect_error("\"keep\":0.1,", "\"keep\":-0.1,",
               "layers[0].heads[1].keep must be in (0, 1], not -0.1");
  expect_error("\"keep\":0.1,", "\"keep\":null,",
               "layers[0].heads[1].keep must be in (0, 1], not null");
  expect_error("\"keep\":0.1,", "\"keep\":\"0.1\",",
               "layers[0].heads[1].keep must be in (0, 1], not \"0.1\"");
  expect_error("\"keep\":0.1,", "", "layers[0].heads[1] lacks \"keep\"");
  expect_error("\"keep\":0.1,", "\"keep\":0.1,\"kept\":2,",
               "layers[0].heads[1] has an unknown entry \"kept\"");
  expect_error("\"importance\":0.5", "\"importance\":-1",
               "layers[0].heads[0].importance must be 0 or more, not -1");
  expect_error("\"attn_error\": 0.05", "\"attn_error\": 1",
               "attn_error must be 0 or more and below 1, not 1");
  expect_error("\"head_dim\": 64", "\"head_dim\": 0",
               "layers[0].head_dim must be at least 1 where there are heads");
  expect_error("\"head_dim\": 64", "\"head_dim\": 6.4",
               "layers[0].head_dim must be a whole number from 0 to 65536, not 6.4");
  expect_error(
      "\"rows_per_list\":4", "\"rows_per_list\":65",
      "layers[0].kv_heads[0].curves[0].lists.rows_per_list must be a whole number from 1 to "
      "64, not 65");
  expect_error("\"dense\":true", "\"dense\":1",
               "layers[0].kv_heads[0].lists.dense must be true or false, not 1");
  expect_error("[0.01,0.05,0.2]", "[0.01,0.01,0.2]",
               "layers[0].kv_heads[0].curves[0].attn_error[1] must be larger than the entry before "
               "it, not 0.01");
  expect_error("[0.5,0.25,0.125]", "[0.5,0.25]",
               "layers[0].kv_heads[0].curves[0].kept has 2 entries, attn_error 3");
  expect_error("[0.5,0.25,0.125]", "0.5",
               "layers[0].kv_heads[0].curves[0].kept must be an array, not 0.5");
  expect_error("[0.1,0.7,1.5]", "[0.1,1e39]",
               "layers[0].query_scales[1] must be a positive float, not 1e+39");
  expect_error("\"parameters\":1000000", "\"parameters\":99999999999999999999999",
               "model.parameters must be a whole number from 0 to 2^53, not 9.999999999999999e+22");
  expect_error("\"architecture\":\"qwen2\"", "\"architecture\":{}",
               "model.architecture must be a text, not an object");
}

TEST(ProfileFile, HeadsMustFit) {
  Profile profile = sample_profile();
  profile.layers[2].heads.pop_back();
  expect_error(to_json(profile), "layers[2] has 3 heads and 2 KV heads, which do not fit");
  profile.layers[2].heads.clear();
  expect_error(to_json(profile), "layers[2] has 0 heads and 2 KV heads, which do not fit");
  profile.layers[2].kv_heads.clear();
  EXPECT_TRUE(parse_profile(to_json(profile)).ok());
}

TEST(ProfileFile, NumbersThatAreNone) {
  const auto refused = [](const std::string& by) {
    const auto profile = parse_profile(replaced(sample_text(), "\"keep\":0.1", "\"keep\":" + by));
    EXPECT_FALSE(profile.ok()) << by;
    return profile.status().message();
  };
  for (const char* by :
       {"NaN", "nan", "Infinity", "-Infinity", "1e999", "0x1", "+1", ".5", "1e-9999"}) {
    EXPECT_NE(
        refused(by).find("keep") == std::string::npos ? refused(by).find("is not JSON") : size_t{0},
        std::string::npos)
        << by;
  }
  EXPECT_EQ(refused("123456789012345678901234567890123456789012345678901234567890123456789"),
            "layers[0].heads[1].keep must be in (0, 1], not 1.234567890123457e+68");
  // What to_json makes of numbers that no file should have is refused, too.
  Profile profile = sample_profile();
  profile.attn_error = std::nan("");
  expect_error(to_json(profile), "attn_error must be 0 or more and below 1, not null");
}

TEST(ProfileFile, HostileSizes) {
  const std::string head = R"({"format": "shadowattn-profile", "version": 1,
      "model": {"architecture": "a", "checksum": "b", "parameters": 3}, "attn_error": 0,
      "layers": [)";
  std::string layers = head + "0";
  for (int i = 0; i < 1'000'000; ++i) layers += ",0";
  expect_error(layers + "]}", "layers has 1000001 entries; at most 4096 are allowed");
  for (int i = 0; i < 3'000'000; ++i) layers += ",0";
  expect_error(layers + "]}", "the profile has more than 4000000 values");
  expect_error(std::string(1'000'000, '['), "the profile is nested too deeply");
  expect_error(head + std::string(1000, '[') + std::string(1000, ']') + "]}",
               "the profile is nested too deeply");
  std::string objects;
  for (int i = 0; i < 1000; ++i) objects += "{\"a\":";
  expect_error(objects, "the profile is nested too deeply");
  expect_error(std::string(kLargestProfile + 1, ' '), "the profile is longer than 67108864 bytes");
  expect_error("\"qwen2\"", "\"" + std::string(5000, 'q') + "\"",
               "model.architecture is longer than 4096 bytes");
  // Brackets in texts are no nesting.
  EXPECT_TRUE(parse_profile(replaced(sample_text(), "\"qwen2\"", R"("[[[[[[[[[[\"{{{{\\")")).ok());
  expect_error(
      "\"qwen2\"", std::string(5000, '9'),
      "the profile is not JSON: number overflow parsing '" + std::string(175, '9') + "...");
}

TEST(ProfileFile, OtherTexts) {
  for (const char* text :
       {"", " ", "{", "[]", "null", "1", "\"x\"", "{}", "{\"format\"", "\xff\xfe", "\xEF\xBB\xBF{}",
        "{\"format\": 1e999}", "{\"\\ud800\": 1}", "// comment\n{}"}) {
    const auto profile = parse_profile(text);
    EXPECT_FALSE(profile.ok()) << text;
    EXPECT_FALSE(profile.status().message().empty());
    EXPECT_EQ(profile.status().message().find('\n'), std::string::npos);
  }
  expect_error("\"version\": 1,", "\"version\": 1, \"version\": 1,",
               "the profile has \"version\" twice in one object");
}

TEST(ProfileFile, EveryBeginningIsRefused) {
  const std::string text = sample_text();
  for (size_t length = 0; length + 2 < text.size(); ++length) {
    ASSERT_FALSE(parse_profile(std::string_view(text).substr(0, length)).ok()) << length;
  }
}

/// Whatever is still read from damaged text is in range, and can be written and read again.
void expect_sound(const std::string& text) {
  const auto profile = parse_profile(text);
  if (!profile.ok()) {
    ASSERT_FALSE(profile.status().message().empty());
    ASSERT_LT(profile.status().message().size(), 500U);
    return;
  }
  for (const LayerProfile& layer : profile.value().layers) {
    for (const HeadProfile& head : layer.heads) ASSERT_TRUE(head.keep > 0.0 && head.keep <= 1.0);
    for (const KvHeadProfile& head : layer.kv_heads) {
      ASSERT_GE(head.lists.rows_per_list, 1);
      ASSERT_LE(head.lists.rows_per_list, 64);
      for (const KeptCurve& curve : head.curves) {
        ASSERT_EQ(curve.kept.size(), curve.attn_error.size());
      }
    }
  }
  ASSERT_TRUE(parse_profile(to_json(profile.value())).ok()) << text;
}

TEST(ProfileFile, DamageNeverCrashes) {
  const std::string good = sample_text();
  std::mt19937_64 random(7);
  const auto below = [&random](size_t count) { return static_cast<size_t>(random() % count); };
  constexpr std::string_view kLikely = "{}[]\",:0123456789.-+eE\\ntrueflas \xff\x01";
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    for (size_t changes = 1 + below(4); changes > 0; --changes) {
      const size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text.erase(at, 1 + below(40));
          break;
        case 1:
          text[at] = kLikely[below(kLikely.size())];
          break;
        case 2:
          text.insert(at, 1, kLikely[below(kLikely.size())]);
          break;
        default:
          text.insert(at, text.substr(below(text.size()), below(200)));
      }
      if (text.empty()) text = " ";
    }
    ASSERT_NO_FATAL_FAILURE(expect_sound(text));
  }
}

/// A file that is gone with the test.
class FileOnDisk {
 public:
  explicit FileOnDisk(const std::string& text)
      : path_(testing::TempDir() + "shadowattn_profile_" +
              testing::UnitTest::GetInstance()->current_test_info()->name() + ".json") {
    std::ofstream(path_) << text;
  }
  ~FileOnDisk() { std::remove(path_.c_str()); }
  FileOnDisk(const FileOnDisk&) = delete;
  FileOnDisk& operator=(const FileOnDisk&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(ProfileFile, Files) {
  const FileOnDisk good(sample_text());
  const auto profile = load_profile(good.path());
  ASSERT_TRUE(profile.ok()) << profile.status().message();
  expect_equal(sample_profile(), profile.value());
  for (const char* path : {"no such file.json", ".", "/dev/null", "/dev/zero", ""}) {
    const auto refused = load_profile(path);
    ASSERT_FALSE(refused.ok()) << path;
    EXPECT_EQ(refused.status().message().rfind(std::string(path) + ": ", 0), 0U);
  }
}

TEST(ProfileFile, MessagesOfFilesBeginWithThePath) {
  const FileOnDisk bad(replaced(sample_text(), "\"keep\":0.1,", "\"keep\":1.5,"));
  EXPECT_EQ(load_profile(bad.path()).status().message(),
            bad.path() + ": layers[0].heads[1].keep must be in (0, 1], not 1.5");
  const FileOnDisk cut(sample_text().substr(0, 300));
  EXPECT_EQ(load_profile(cut.path())
                .status()
                .message()
                .rfind(cut.path() + ": the profile is not JSON: parse error", 0),
            0U);
}

TEST(ProfileLookup, OnlyWhatFits) {
  const Profile profile = sample_profile();
  AttentionCall call;
  call.query.heads = 4;
  call.query.dim = 64;
  call.key.heads = 2;
  call.layer = 2;
  EXPECT_EQ(find_layer(profile, call), &profile.layers[2]);
  for (const int32_t layer :
       {-1, 1, 3, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
    AttentionCall other = call;
    other.layer = layer;
    EXPECT_EQ(find_layer(profile, other), nullptr) << layer;
  }
  AttentionCall other = call;
  other.query.heads = 2;
  EXPECT_EQ(find_layer(profile, other), nullptr);
  other = call;
  other.key.heads = 4;
  EXPECT_EQ(find_layer(profile, other), nullptr);
  other = call;
  other.query.dim = 128;
  EXPECT_EQ(find_layer(profile, other), nullptr);
  EXPECT_EQ(find_layer(Profile(), call), nullptr);
}

}  // namespace
}  // namespace shadowattn
