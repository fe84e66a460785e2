// SoC files: the one that comes along, every way to get one wrong, and npu-sim that plays one.
#include "device/soc_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "device_problem.h"

namespace shadowattn {
namespace {

using test::LaunchProblem;
using test::net;

std::string shipped_text(const std::string& name = "snapdragon-8gen3.json") {
  std::ifstream file(SHADOWATTN_SOURCE_SOC "/" + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A file from figures "value unit"; an empty one is left out.
class SocText {
 public:
  SocText() = default;
  SocText& set(const std::string& name, const std::string& figure) {
    figures_.at(name) = figure;
    return *this;
  }

  std::string text() const {
    std::string limits;
    std::string times;
    for (const auto& [name, figure] : figures_) {
      const bool is_time =
          name == "compile" || name == "launch" || name == "head" || name.starts_with("oper");
      add(is_time ? times : limits, name, figure);
    }
    std::string prefill;
    for (const auto& [name, figure] : prefill_) add(prefill, name, figure);
    if (!prefill_.empty()) prefill = ", \"prefill\": {" + prefill + "}";
    return "{\"schema\": 1, \"name\": \"tested\", \"limits\": {" + limits + "}, \"times\": {" +
           times + "}" + prefill + "}";
  }

  /// With all figures of that section, which is left out otherwise.
  SocText& with_prefill() {
    prefill_ = {{"linear_rate", "2 Top/s"},     {"pilot_rate", "500 Gop/s"},
                {"estimate_rate", "9 Gop/s"},   {"select", "4 ns"},
                {"attend_rate", "20 Gop/s"},    {"dense_attention", "0.05 us"},
                {"prime_cores", "1 cores"},     {"middle_cores", "5 cores"},
                {"small_cores", "0 cores"},     {"prime_speed", "2.5 times"},
                {"small_speed", "0.5 times"},   {"dense_scaling", "0.5 exponent"},
                {"memory_bandwidth", "60 GB/s"}};
    return *this;
  }
  SocText& set_prefill(const std::string& name, const std::string& figure) {
    prefill_.at(name) = figure;
    return *this;
  }

 private:
  static void add(std::string& group, const std::string& name, const std::string& figure) {
    if (figure.empty()) return;
    const size_t blank = figure.find(' ');
    group += (group.empty() ? "\"" : ", \"") + name + "\": {\"value\": " + figure.substr(0, blank) +
             ", \"unit\": \"" + figure.substr(blank + 1) + "\", \"source\": \"a test\"}";
  }

  std::map<std::string, std::string> prefill_;
  std::map<std::string, std::string> figures_ = {{"max_heads", "4 heads"},
                                                 {"max_rows", "64 rows"},
                                                 {"max_keys", "256 keys"},
                                                 {"max_dim", "64 elements"},
                                                 {"row_multiple", "32 rows"},
                                                 {"key_multiple", "128 keys"},
                                                 {"dim_multiple", "32 elements"},
                                                 {"max_graphs", "3 graphs"},
                                                 {"max_graph_memory", "1 MiB"},
                                                 {"max_tensor", "32 KiB"},
                                                 {"max_memory", "2 MiB"},
                                                 {"queue_depth", "5 operations"},
                                                 {"timeout", "300 s"},
                                                 {"compile", "2 ms"},
                                                 {"launch", "3000 us"},
                                                 {"head", "1000000 ns"},
                                                 {"operation_rate", "1 Gop/s"},
                                                 {"operand_rate", "0.5 GB/s"}};
};

void expect_error(const std::string& text, const std::string& part) {
  const auto soc = parse_soc(text, "x.json");
  ASSERT_FALSE(soc.ok()) << part << "\n" << text.substr(0, 500);
  EXPECT_EQ(soc.status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(soc.status().message().rfind("x.json", 0), 0U) << soc.status().message();
  EXPECT_NE(soc.status().message().find(part), std::string::npos) << soc.status().message();
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(SocFile, TheShippedOneSaysWhatWasPublished) {
  const auto soc = parse_soc(shipped_text(), "snapdragon");
  ASSERT_TRUE(soc.ok()) << soc.status().message();
  const LatencyModel& model = soc.value().latency;
  const GraphSpec spec{.rows = 128, .keys = 2048, .dim = 64};
  // Published in whole milliseconds: 2, 3 and 4.
  for (const auto& [heads, published] : {std::pair{1, 2.0}, {2, 3.0}, {4, 4.0}}) {
    const double ms = (model.launch_ns + heads * model.head_time_ns(spec)) / 1e6;
    EXPECT_NEAR(ms, published, 0.25) << heads;
  }
  const DeviceCapabilities& c = soc.value().capabilities;
  EXPECT_EQ(c.max_heads, 16);
  EXPECT_EQ(c.max_keys, 4160);
  EXPECT_EQ(c.timeout, std::chrono::seconds(6));
  EXPECT_EQ(c.max_graph_bytes, 8 << 20);
  EXPECT_TRUE(c.concurrent);
}

TEST(SocFile, ShippedOnesHaveWhatAPrefillTakes) {
  for (const char* name : {"snapdragon-8gen3.json", "snapdragon-8gen2.json"}) {
    const auto soc = parse_soc(shipped_text(name), name);
    ASSERT_TRUE(soc.ok()) << soc.status().message();
    EXPECT_TRUE(soc.value().prefill.has_value()) << name;
  }
}

TEST(SocFile, PrefillMayBeLeftOut) {
  const auto without = parse_soc(SocText().text(), "x");
  ASSERT_TRUE(without.ok()) << without.status().message();
  EXPECT_FALSE(without.value().prefill.has_value());
  const auto with = parse_soc(SocText().with_prefill().text(), "x");
  ASSERT_TRUE(with.ok()) << with.status().message();
  ASSERT_TRUE(with.value().prefill.has_value());
  const PrefillRates& rates = *with.value().prefill;
  EXPECT_EQ(rates.linear_operations_per_second, 2e12);
  EXPECT_EQ(rates.pilot_operations_per_second, 5e11);
  EXPECT_EQ(rates.estimate_operations_per_second, 9e9);
  EXPECT_EQ(rates.select_ns, 4.0);
  EXPECT_EQ(rates.attend_operations_per_second, 2e10);
  EXPECT_EQ(rates.dense_attention_ns, 50.0);
  EXPECT_EQ(rates.dense_scaling, 0.5);
  EXPECT_EQ(rates.memory_bytes_per_second, 6e10);
  EXPECT_EQ(rates.prime_cores, 1);
  EXPECT_EQ(rates.middle_cores, 5);
  EXPECT_EQ(rates.small_cores, 0);
  EXPECT_EQ(rates.prime_speed, 2.5);
  EXPECT_EQ(rates.small_speed, 0.5);
}

TEST(SocFile, PrefillIsCheckedLikeTheRest) {
  for (const char* name : {"linear_rate", "pilot_rate", "estimate_rate", "select", "attend_rate",
                           "dense_attention", "dense_scaling", "memory_bandwidth", "prime_cores",
                           "middle_cores", "small_cores", "prime_speed", "small_speed"}) {
    expect_error(SocText().with_prefill().set_prefill(name, "").text(),
                 std::string("lacks \"") + name + "\"");
  }
  const std::pair<const char*, const char*> bad[] = {
      {"linear_rate", "0 Top/s"},
      {"select", "0 ns"},
      {"select", "-1 ns"},
      {"select", "2 s"},
      {"attend_rate", "1 op/s"},
      {"dense_attention", "1 GB/s"},
      {"dense_scaling", "1.1 exponent"},
      {"middle_cores", "0 cores"},
      {"small_cores", "-1 cores"},
      {"prime_cores", "1.5 cores"},
      {"prime_speed", "0 times"},
      {"small_speed", "1e9 times"},
      {"memory_bandwidth", "3 GiB"},
  };
  for (const auto& [name, figure] : bad) {
    expect_error(SocText().with_prefill().set_prefill(name, figure).text(),
                 std::string("prefill.") + name);
  }
  const std::string good = SocText().with_prefill().text();
  expect_error(replaced(good, "\"prefill\": {", "\"prefill\": [], \"x\": {"), "unknown entry");
  expect_error(replaced(good, "\"pilot_rate\"", "\"pilots\""), "unknown entry \"pilots\"");
  expect_error(replaced(good, "\"prime_cores\"", "\"small_cores\""), "twice");
}

TEST(SocFile, EveryFigureArrives) {
  const auto soc = parse_soc(SocText().text(), "x");
  ASSERT_TRUE(soc.ok()) << soc.status().message();
  const DeviceCapabilities& c = soc.value().capabilities;
  EXPECT_EQ(c.name, "npu-sim");
  EXPECT_NE(c.description.find("tested"), std::string::npos);
  EXPECT_EQ(c.max_heads, 4);
  EXPECT_EQ(c.max_rows, 64);
  EXPECT_EQ(c.max_keys, 256);
  EXPECT_EQ(c.max_dim, 64);
  EXPECT_EQ(c.row_multiple, 32);
  EXPECT_EQ(c.key_multiple, 128);
  EXPECT_EQ(c.dim_multiple, 32);
  EXPECT_EQ(c.max_graphs, 3);
  EXPECT_EQ(c.max_graph_bytes, 1 << 20);
  EXPECT_EQ(c.max_tensor_bytes, 32 << 10);
  EXPECT_EQ(c.max_memory_bytes, 2 << 20);
  EXPECT_EQ(c.queue_depth, 5);
  EXPECT_EQ(c.timeout, std::chrono::seconds(300));
  const LatencyModel& model = soc.value().latency;
  EXPECT_EQ(model.compile_ns, 2e6);
  EXPECT_EQ(model.launch_ns, 3e6);
  // 1 ms, 2 · 32 · 128 · 64 operations at 1 per ns, 2048 + 8192 + 4096 bytes at 0.5 per ns.
  const GraphSpec spec{.rows = 32, .keys = 128, .dim = 64};
  EXPECT_DOUBLE_EQ(model.head_time_ns(spec), 1e6 + 524288 + 28672);
}

TEST(SocFile, OnlyTheOperandRateIsOptional) {
  const auto soc = parse_soc(SocText().set("operand_rate", "").text(), "x");
  ASSERT_TRUE(soc.ok()) << soc.status().message();
  EXPECT_EQ(soc.value().latency.operand_bytes_per_second, 0.0);
  for (const char* name :
       {"max_heads", "max_rows", "max_keys", "max_dim", "row_multiple", "key_multiple",
        "dim_multiple", "max_graphs", "max_graph_memory", "max_tensor", "max_memory", "queue_depth",
        "timeout", "compile", "launch", "head", "operation_rate"}) {
    expect_error(SocText().set(name, "").text(), std::string("lacks \"") + name + "\"");
  }
}

TEST(SocFile, FiguresOutOfRange) {
  const std::pair<const char*, const char*> bad[] = {
      {"max_heads", "0 heads"},
      {"max_heads", "-1 heads"},
      {"max_heads", "257 heads"},
      {"max_heads", "1.5 heads"},
      {"max_heads", "1e999 heads"},
      {"max_heads", "18446744073709551616 heads"},
      {"max_rows", "1000000 rows"},
      {"max_dim", "512 elements"},
      {"max_dim", "8 elements"},
      {"row_multiple", "0 rows"},
      {"max_graph_memory", "0.3 B"},
      {"max_memory", "1e300 GiB"},
      {"max_memory", "-1 B"},
      {"queue_depth", "0 operations"},
      {"queue_depth", "100000 operations"},
      {"timeout", "0 s"},
      {"timeout", "2e9 s"},
      {"launch", "-1 ns"},
      {"head", "1e12 s"},
      {"operation_rate", "0 op/s"},
      {"operation_rate", "-1 Gop/s"},
      {"operand_rate", "0 B/s"},
  };
  for (const auto& [name, figure] : bad) {
    const std::string text = SocText().set(name, figure).text();
    const auto soc = parse_soc(text, "x.json");
    EXPECT_FALSE(soc.ok()) << name << " " << figure;
    if (std::string_view(figure).find("e999") == std::string_view::npos) expect_error(text, name);
  }
}

TEST(SocFile, MultiplesMustFitEachOther) {
  expect_error(SocText().set("max_rows", "65 rows").text(), "multiple of row_multiple");
  expect_error(SocText().set("max_keys", "192 keys").text(), "multiple of key_multiple");
  expect_error(SocText().set("max_dim", "80 elements").text(), "multiple of dim_multiple");
  expect_error(SocText().set("key_multiple", "96 keys").text(), "multiple of 64");
  expect_error(SocText().set("dim_multiple", "24 elements").text(), "multiple of 16");
}

TEST(SocFile, UnitsAreChecked) {
  expect_error(SocText().set("launch", "3 min").text(), "known: ns, us, ms, s");
  expect_error(SocText().set("launch", "3 heads").text(), "times.launch");
  expect_error(SocText().set("max_heads", "3 rows").text(), "known: heads");
  expect_error(SocText().set("launch", "\"3\" ms").text(), "needs a number");
  expect_error(SocText().set("launch", "null ms").text(), "needs a number");
  expect_error(SocText().set("launch", "true ms").text(), "needs a number");
}

TEST(SocFile, StructureIsChecked) {
  const std::string good = SocText().text();
  expect_error(replaced(good, "\"schema\": 1", "\"schema\": 2"), "schema");
  expect_error(replaced(good, "\"schema\": 1", "\"schema\": \"1\""), "schema");
  expect_error(replaced(good, "\"schema\": 1, ", ""), "lacks \"schema\"");
  expect_error(replaced(good, "\"name\": \"tested\"", "\"name\": \"\""), "\"name\"");
  expect_error(replaced(good, "\"name\": \"tested\"", "\"name\": 3"), "\"name\"");
  expect_error(replaced(good, "\"source\": \"a test\"", "\"source\": \"\""), "\"source\"");
  expect_error(replaced(good, ", \"source\": \"a test\"", ""), "lacks \"source\"");
  expect_error(replaced(good, "\"limits\"", "\"limit\""), "unknown entry \"limit\"");
  expect_error(replaced(good, "\"max_keys\"", "\"maxkeys\""), "unknown entry \"maxkeys\"");
  expect_error(replaced(good, "\"unit\"", "\"units\""), "unknown entry \"units\"");
  expect_error(replaced(good, "\"name\"", "\"schema\": 1, \"name\""), "twice");
  expect_error(replaced(good, "\"max_keys\"", "\"max_rows\""), "twice");
  expect_error(replaced(good, "\"tested\"", "{\"a\": {\"b\": {\"c\": {\"d\": {}}}}}"), "deep");
  expect_error(R"({"schema": 1, "name": "x", "limits": [], "times": {}})", "is not an object");
  expect_error(R"({"schema": 1, "name": "x", "limits": {"max_heads": 3}, "times": {}})", "lacks");
}

TEST(SocFile, HostileText) {
  for (const char* text :
       {"", " ", "{", "[]", "null", "1", "\"x\"", "{}", "{\"schema\"", "\xff\xfe",
        "{\"schema\": 1e999}", "{\"\\ud800\": 1}", "// comment\n{}"}) {
    const auto soc = parse_soc(text, "x.json");
    EXPECT_FALSE(soc.ok()) << text;
    EXPECT_FALSE(soc.status().message().empty());
  }
  expect_error(std::string(kLargestSocFile + 1, ' '), "longer");
  expect_error(std::string(60000, '['), "x.json");
  expect_error(std::string(30000, '[') + std::string(30000, ']'), "deep");
  std::string objects;
  for (int i = 0; i < 5000; ++i) objects += "{\"a\":";
  expect_error(objects + "1" + std::string(5000, '}'), "deep");
  // Every beginning of a good file, and every byte of it broken.
  const std::string good = SocText().text();
  for (size_t i = 0; i < good.size(); ++i) EXPECT_FALSE(parse_soc(good.substr(0, i), "x").ok());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string broken = good;
    broken[i] = static_cast<char>(0xC1);
    EXPECT_FALSE(parse_soc(broken, "x").ok()) << i;
  }
}

TEST(SocFile, FilesThatCannotBeRead) {
  for (const char* path : {"no such file.json", ".", "/dev/null", "/dev/zero", ""}) {
    const auto soc = load_soc(path);
    ASSERT_FALSE(soc.ok()) << path;
    EXPECT_EQ(soc.status().code(), StatusCode::kInvalidArgument);
    EXPECT_FALSE(open_device({.name = "npu-sim", .soc = *path == 0 ? "." : path}).ok());
  }
}

/// A file that is gone with the test.
class SocOnDisk {
 public:
  explicit SocOnDisk(const std::string& text)
      : path_(testing::TempDir() + "shadowattn_soc_" +
              testing::UnitTest::GetInstance()->current_test_info()->name() + ".json") {
    std::ofstream(path_) << text;
  }
  ~SocOnDisk() { std::remove(path_.c_str()); }
  SocOnDisk(const SocOnDisk&) = delete;
  SocOnDisk& operator=(const SocOnDisk&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(NpuSimWithSoc, KeepsLimitsAndTakesItsTime) {
  const SocOnDisk file(SocText().text());
  const auto device = test::open({.name = "npu-sim", .soc = file.path(), .launch_us = 1000});
  ASSERT_NE(device, nullptr);
  const Requantisation r{.mantissa = 140, .shift = 5};
  EXPECT_FALSE(device->capabilities().supports({1, 16, 128, 32, r}).ok());
  EXPECT_FALSE(device->capabilities().supports({5, 32, 128, 32, r}).ok());
  EXPECT_FALSE(device->capabilities().supports({4, 64, 256, 64, r}).ok());
  EXPECT_TRUE(device->capabilities().supports({2, 64, 256, 64, r}).ok());
  const GraphSpec spec{3, 32, 128, 64, r};
  LaunchProblem problem(spec, 5);
  ASSERT_TRUE(test::run(*device, 1, problem).ok());
  HeadTiming timing[3];
  HeadTiming compiled;
  ASSERT_TRUE(device->wait(0, 0, net(), &compiled).ok());
  EXPECT_GE(compiled.end_ns - compiled.start_ns, 2'000'000);
  int64_t start = compiled.end_ns;
  for (int32_t h = 0; h < 3; ++h) {
    EXPECT_EQ(problem.wrong_scores(*device, h), 0);
    ASSERT_TRUE(device->wait(1, h, net(), &timing[h]).ok());
    const int64_t least = 1'552'960 + (h == 0 ? 4'000'000 : 0);
    EXPECT_GE(timing[h].end_ns - timing[h].start_ns, least);
    // Queued behind the compilation or after it; heads follow each other without a gap.
    EXPECT_GE(timing[h].start_ns, start);
    EXPECT_TRUE(h == 0 || timing[h].start_ns == start);
    start = timing[h].end_ns;
  }
  const Status s = self_test(*device);
  EXPECT_TRUE(s.ok()) << s.message();
}

TEST(NpuSimWithSoc, CountsLaunchesThatThisMachineIsTooSlowFor) {
  SocText text;
  text.set("launch", "0 ns").set("head", "0 ns").set("compile", "0 ns");
  text.set("operation_rate", "1e6 Top/s").set("operand_rate", "");
  const SocOnDisk file(text.text());
  const auto device = test::open({.name = "npu-sim", .soc = file.path(), .max_graphs = 9});
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(device->capabilities().max_graphs, 9);
  LaunchProblem problem({2, 64, 256, 64, {.mantissa = 140, .shift = 5}}, 5);
  ASSERT_TRUE(test::run(*device, 1, problem).ok());
  const auto second = device->submit({1, problem.heads()});
  ASSERT_TRUE(second.ok());
  ASSERT_TRUE(device->wait(second.value(), 1, net(), nullptr).ok());
  EXPECT_EQ(device->late_launches(), 2);
  EXPECT_EQ(problem.wrong_scores(*device, 1), 0);
}

TEST(NpuSimWithSoc, EndsSoonInALongLaunch) {
  const SocOnDisk file(SocText().set("head", "3000 s").text());
  const auto before = Device::Clock::now();
  {
    const auto device = test::open({.name = "npu-sim", .soc = file.path()});
    LaunchProblem problem({1, 32, 128, 64, {.mantissa = 140, .shift = 5}}, 5);
    ASSERT_TRUE(device->reserve(problem.end()).ok());
    problem.fill(*device);
    ASSERT_TRUE(device->compile(1, problem.spec()).ok());
    ASSERT_TRUE(device->wait(0, 0, net(), nullptr).ok());
    ASSERT_TRUE(device->submit({1, problem.heads()}).ok());
  }
  EXPECT_LT(Device::Clock::now() - before, std::chrono::seconds(1000));
}

}  // namespace
}  // namespace shadowattn
