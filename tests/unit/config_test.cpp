#include "shadowattn/config.h"

#include <gtest/gtest.h>

#include <clocale>
#include <string>

#include "shadowattn/cpu.h"

namespace shadowattn {
namespace {

Config parse_ok(std::string_view text) {
  const Result<Config> result = parse_config(text);
  EXPECT_TRUE(result.ok()) << text << ": " << result.status().message();
  return result.ok() ? result.value() : Config();
}

std::string parse_error(std::string_view text) {
  const Result<Config> result = parse_config(text);
  EXPECT_FALSE(result.ok()) << text;
  if (result.ok()) return {};
  EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(result.status().message().find('\n'), std::string::npos) << "more than one line";
  return result.status().message();
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(ConfigTest, EmptyTextGivesDefaults) {
  for (const std::string_view text : {"", "   ", ",", " , ,, "}) {
    EXPECT_EQ(to_string(parse_ok(text)), to_string(Config())) << text;
  }
}

TEST(ConfigTest, ReadsEveryKey) {
  const Config config = parse_ok(
      "mode=dense, keep = 0.35 ,sink=1,recent=2,floor=3,rows=4,share_heads=no,threads=5,"
      "pilot_step=7,precision=f32,gate=off,min_rows=6,report=a dir/out=1.json,isa=scalar,"
      "attn_error=0.125,sample=9,profile=a model.shadow.json,ablate=3:12");
  EXPECT_TRUE(config.enabled);
  EXPECT_EQ(config.engine.mode, Mode::kDense);
  EXPECT_DOUBLE_EQ(config.engine.keep, 0.35);
  EXPECT_EQ(config.engine.sink, 1);
  EXPECT_EQ(config.engine.recent, 2);
  EXPECT_EQ(config.engine.keep_floor, 3);
  EXPECT_EQ(config.engine.rows_per_list, 4);
  EXPECT_FALSE(config.engine.share_heads);
  EXPECT_EQ(config.engine.pilot_step, 7);
  EXPECT_EQ(config.engine.precision, Precision::kF32);
  EXPECT_FALSE(config.engine.gate);
  EXPECT_EQ(config.threads, 5);
  EXPECT_EQ(config.min_rows, 6);
  EXPECT_EQ(config.report_path, "a dir/out=1.json");
  EXPECT_EQ(config.engine.isa, "scalar");
  EXPECT_EQ(config.engine.attn_error, 0.125);
  EXPECT_EQ(config.engine.sample_every, 9);
  EXPECT_EQ(config.profile_path, "a model.shadow.json");
  EXPECT_EQ(config.ablate, (Ablation{3, 12}));
  EXPECT_EQ(parse_ok("ablate=0:*").ablate, (Ablation{0, -1}));
}

TEST(ConfigTest, ReadsEveryMode) {
  constexpr std::pair<const char*, Mode> kModes[] = {
      {"shadow", Mode::kShadow}, {"dense", Mode::kDense},   {"sparse-f32", Mode::kSparseF32},
      {"block", Mode::kBlock},   {"window", Mode::kWindow}, {"npu-int8", Mode::kNpuInt8},
      {"oracle", Mode::kOracle},
  };
  for (const auto& [name, mode] : kModes) {
    const Config config = parse_ok(std::string("mode=") + name);
    EXPECT_EQ(config.engine.mode, mode) << name;
    EXPECT_TRUE(contains(to_string(config), std::string("mode=") + name)) << name;
  }
}

TEST(ConfigTest, TheMassThatMayBeLostIsAShare) {
  EXPECT_EQ(parse_ok("attn_error=0").engine.attn_error, 0.0);
  for (const char* text : {"attn_error=1", "attn_error=-0.1", "attn_error=nan", "attn_error=x"}) {
    EXPECT_TRUE(contains(parse_error(text), "0 up to but not 1")) << text;
  }
}

TEST(ConfigTest, DefaultsMayBeWritten) {
  const Config config = parse_ok("precision=fast,gate=auto,pilot_step=1,min_rows=0");
  EXPECT_EQ(config.engine.precision, Precision::kFast);
  EXPECT_TRUE(config.engine.gate);
  EXPECT_EQ(to_string(config), to_string(Config()));
  EXPECT_TRUE(parse_ok("gate=off,gate=auto").engine.gate);
  EXPECT_EQ(parse_ok("precision=f32,precision=fast").engine.precision, Precision::kFast);
}

TEST(ConfigTest, ModeOffClaimsNothingAndLaterKeyWins) {
  EXPECT_FALSE(parse_ok("mode=off").enabled);
  EXPECT_TRUE(parse_ok("mode=off,mode=shadow").enabled);
  EXPECT_EQ(parse_ok("keep=0.1,keep=0.5").engine.keep, 0.5);
}

TEST(ConfigTest, RoundTrips) {
  for (const std::string_view text :
       {"", "mode=off", "mode=dense,keep=1", "keep=0.1", "keep=1e-300", "keep=0.3333333333333333",
        "rows=64,share_heads=no,report=/tmp/x.json,isa=scalar", "floor=0,sink=0,recent=0",
        "pilot_step=64,precision=f32,gate=off,min_rows=1"}) {
    const std::string once = to_string(parse_ok(text));
    EXPECT_EQ(to_string(parse_ok(once)), once);
    EXPECT_EQ(parse_ok(once).engine.keep, parse_ok(text).engine.keep);
    EXPECT_EQ(parse_ok(once).engine.pilot_step, parse_ok(text).engine.pilot_step);
    EXPECT_EQ(parse_ok(once).engine.precision, parse_ok(text).engine.precision);
    EXPECT_EQ(parse_ok(once).engine.gate, parse_ok(text).engine.gate);
    EXPECT_EQ(parse_ok(once).min_rows, parse_ok(text).min_rows);
  }
}

TEST(ConfigTest, ErrorsNameKeyValueAndWhatIsAllowed) {
  const std::string error = parse_error("keep=1.5");
  EXPECT_TRUE(contains(error, "\"keep\"") && contains(error, "\"1.5\"")) << error;
  EXPECT_TRUE(contains(error, "above 0 and at most 1")) << error;
  EXPECT_TRUE(contains(parse_error("kepe=0.2"), "unknown key \"kepe\""));
  EXPECT_TRUE(contains(parse_error("kepe=0.2"), "keep"));
  EXPECT_TRUE(contains(parse_error("mode=sparse"), "shadow, dense, off"));
  EXPECT_TRUE(contains(parse_error("isa=mmx"), "scalar"));
  EXPECT_TRUE(contains(parse_error("precision=bf16"), "fast or f32"));
  EXPECT_TRUE(contains(parse_error("gate=on"), "auto or off"));
  EXPECT_TRUE(contains(parse_error("pilot_step=65"), "1 ... 64"));
  EXPECT_TRUE(contains(parse_error("keep"), "expected key=value"));
  EXPECT_TRUE(contains(parse_error("=3"), "unknown key \"\""));
  EXPECT_TRUE(contains(parse_error("keep=,mode=dense"), "no value for key \"keep\""));
}

TEST(ConfigTest, RefusesBadValues) {
  for (const std::string_view text : {"keep=0",
                                      "keep=-0.1",
                                      "keep=nan",
                                      "keep=inf",
                                      "keep=1e999",
                                      "keep=0x1p-2",
                                      "keep=0,5",
                                      "keep=0.5abc",
                                      "keep=+0.5",
                                      "keep=1.0000001",
                                      "rows=0",
                                      "rows=65",
                                      "rows=1.5",
                                      "rows=-1",
                                      "threads=-1",
                                      "threads=1025",
                                      "threads=two",
                                      "min_rows=-1",
                                      "sink=-4",
                                      "recent=1e3",
                                      "floor=4294967297",
                                      "floor=99999999999999999999",
                                      "share_heads=maybe",
                                      "pilot_step=0",
                                      "pilot_step=65",
                                      "pilot_step=1.5",
                                      "precision=f16",
                                      "precision=F32",
                                      "precision=",
                                      "gate=on",
                                      "gate=no",
                                      "gate=",
                                      "mode=",
                                      "mode=Shadow",
                                      "isa=",
                                      "isa=AVX2",
                                      "report=",
                                      "profile=",
                                      "ablate=",
                                      "ablate=3",
                                      "ablate=3:",
                                      "ablate=:3",
                                      "ablate=*:3",
                                      "ablate=-1:3",
                                      "ablate=3:-1",
                                      "ablate=3:1:2",
                                      "ablate=3:**",
                                      "report=a\nb"}) {
    parse_error(text);
  }
}

TEST(ConfigTest, LimitsLengthAndQuotesSafely) {
  EXPECT_TRUE(contains(parse_error(std::string(4097, ' ')), "4096"));
  EXPECT_EQ(parse_ok("report=" + std::string(4089, 'x')).report_path.size(), 4089U);
  EXPECT_LT(parse_error("mode=" + std::string(4000, 'x')).size(), 300U);
  parse_error(std::string_view("mode=dense\0x", 12));
  parse_error("k\x1b[31m\n=1");
}

TEST(ConfigTest, ReadsEveryKeyOfTheDevice) {
  const DeviceOptions d =
      parse_ok(
          "device=npu-sim,pipeline=fifo,fuse_heads=3,row_scales=no,center_keys=no,"
          "query_scales=0.5/1/2.25,key_scales=1e-3,scale_rule=nearest,clip=0.25,saturate=0,"
          "device_timeout=1500,soc=a dir/x=y.soc,device_cpu=3,launch_us=40,max_graphs=7,"
          "fault=hang@12")
          .engine.device;
  EXPECT_EQ(d.name, "npu-sim");
  EXPECT_EQ(d.pipeline, PipelineMode::kFifo);
  EXPECT_EQ(d.fuse_heads, 3);
  EXPECT_FALSE(d.row_scales);
  EXPECT_FALSE(d.center_keys);
  EXPECT_EQ(d.query_scales, (std::vector<float>{0.5F, 1.0F, 2.25F}));
  EXPECT_EQ(d.key_scales, (std::vector<float>{1e-3F}));
  EXPECT_EQ(d.scale_rule, ScaleRule::kNearest);
  EXPECT_EQ(d.clip_share, 0.25);
  EXPECT_EQ(d.saturated_share, 0.0);
  EXPECT_EQ(d.timeout_ms, 1500);
  EXPECT_EQ(d.soc, "a dir/x=y.soc");
  EXPECT_EQ(d.device_cpu, 3);
  EXPECT_EQ(d.launch_us, 40);
  EXPECT_EQ(d.max_graphs, 7);
  EXPECT_EQ(d.fault, DeviceFault::kHang);
  EXPECT_EQ(d.fault_at, 12);
}

TEST(ConfigTest, NamesOfTheDevicesChoices) {
  const std::pair<const char*, DeviceFault> faults[] = {
      {"none", DeviceFault::kNone},   {"slow", DeviceFault::kSlow},
      {"late", DeviceFault::kLate},   {"hang", DeviceFault::kHang},
      {"lost", DeviceFault::kLost},   {"refuse", DeviceFault::kRefuse},
      {"wrong", DeviceFault::kWrong}, {"memory", DeviceFault::kOutOfMemory}};
  for (const auto& [name, fault] : faults) {
    const DeviceOptions plain = parse_ok(std::string("fault=") + name).engine.device;
    EXPECT_EQ(plain.fault, fault);
    EXPECT_EQ(plain.fault_at, 0);
    EXPECT_EQ(parse_ok(std::string("fault=") + name + "@0").engine.device.fault, fault);
  }
  EXPECT_EQ(parse_ok("pipeline=off").engine.device.pipeline, PipelineMode::kOff);
  EXPECT_EQ(parse_ok("pipeline=planned").engine.device.pipeline, PipelineMode::kPlanned);
  EXPECT_EQ(parse_ok("scale_rule=covering").engine.device.scale_rule, ScaleRule::kCovering);
  EXPECT_EQ(parse_ok("scale_rule=exact").engine.device.scale_rule, ScaleRule::kExact);
  for (const std::string_view name : device_names()) {
    EXPECT_EQ(parse_ok("device=" + std::string(name)).engine.device.name, name);
  }
  // A later key wins altogether.
  EXPECT_EQ(parse_ok("fault=hang@3,fault=slow").engine.device.fault_at, 0);
  EXPECT_TRUE(parse_ok("key_scales=1/2,key_scales=auto").engine.device.key_scales.empty());
}

TEST(ConfigTest, DeviceKeysRoundTrip) {
  for (const std::string_view text :
       {"device=npu-sim,fault=lost@2147", "fault=wrong", "device=hexagon,soc=x",
        "query_scales=0.1/0.2/0.30000001,key_scales=1.2e-38/3e38", "clip=0.001,saturate=1e-300",
        "pipeline=off,scale_rule=exact,row_scales=no,center_keys=no", "device_cpu=-1",
        "device_cpu=4095,launch_us=1000000,max_graphs=1000000,fuse_heads=1073741824",
        "device_timeout=3600000"}) {
    const std::string once = to_string(parse_ok(text));
    const Config again = parse_ok(once);
    EXPECT_EQ(to_string(again), once);
    const DeviceOptions& a = parse_ok(text).engine.device;
    const DeviceOptions& b = again.engine.device;
    EXPECT_EQ(a.query_scales, b.query_scales);
    EXPECT_EQ(a.key_scales, b.key_scales);
    EXPECT_EQ(a.clip_share, b.clip_share);
    EXPECT_EQ(a.saturated_share, b.saturated_share);
    EXPECT_EQ(a.fault, b.fault);
    EXPECT_EQ(a.fault_at, b.fault_at);
    EXPECT_EQ(a.soc, b.soc);
    EXPECT_EQ(a.timeout_ms, b.timeout_ms);
  }
}

TEST(ConfigTest, RefusesBadValuesOfTheDevice) {
  for (const std::string_view text : {"device=",
                                      "device=gpu",
                                      "device=CPU",
                                      "device=npu-sim ,device=npu_sim",
                                      "pipeline=on",
                                      "pipeline=",
                                      "fuse_heads=-1",
                                      "fuse_heads=1073741825",
                                      "row_scales=1.5",
                                      "center_keys=",
                                      "query_scales=",
                                      "query_scales=0",
                                      "query_scales=-1",
                                      "query_scales=nan",
                                      "query_scales=inf",
                                      "query_scales=1e-40",
                                      "query_scales=1e39",
                                      "query_scales=1/",
                                      "query_scales=/1",
                                      "query_scales=1//2",
                                      "query_scales=2/1",
                                      "query_scales=1/1",
                                      "key_scales=1/auto",
                                      "key_scales=auto/1",
                                      "key_scales=1 2",
                                      "scale_rule=best",
                                      "clip=-0.1",
                                      "clip=1.1",
                                      "clip=nan",
                                      "saturate=2",
                                      "saturate=",
                                      "device_timeout=-1",
                                      "device_timeout=3600001",
                                      "soc=",
                                      "soc=a\nb",
                                      "device_cpu=-2",
                                      "device_cpu=4096",
                                      "launch_us=-1",
                                      "launch_us=1e3",
                                      "max_graphs=-1",
                                      "fault=",
                                      "fault=@1",
                                      "fault=hang@",
                                      "fault=hang@-1",
                                      "fault=hang@1.5",
                                      "fault=hang@99999999999",
                                      "fault=hang@1@2",
                                      "fault=Hang"}) {
    parse_error(text);
  }
}

TEST(ConfigTest, HostileDeviceValuesAreQuotedSafely) {
  parse_error("fault=\x1b[31m@\x07");
  parse_error(std::string("key_scales=1/2\0/3", 16));
  EXPECT_LT(parse_error("device=" + std::string(4000, '@')).size(), 400U);
  EXPECT_LT(parse_error("query_scales=" + std::string(4000, '/')).size(), 400U);
  std::string many = "query_scales=1";
  for (int i = 2; many.size() < 4000; ++i) many += "/" + std::to_string(i);
  const Config config = parse_ok(many);
  EXPECT_GT(config.engine.device.query_scales.size(), 500U);
}

TEST(ConfigTest, IgnoresTheLocale) {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const char* name : {"de_DE.UTF-8", "fr_FR.UTF-8", "C"}) {
    if (std::setlocale(LC_ALL, name) == nullptr) continue;
    EXPECT_DOUBLE_EQ(parse_ok("keep=0.25").engine.keep, 0.25);
    EXPECT_TRUE(contains(to_string(parse_ok("keep=0.25")), "keep=0.25"));
  }
  std::setlocale(LC_ALL, before.c_str());
}

TEST(ConfigTest, HelpHasOneLinePerKey) {
  std::string help = "\n";
  help += config_help();
  for (const char* key :
       {"attn_error", "sample",     "profile",    "mode",           "keep",         "sink",
        "recent",     "floor",      "rows",       "share_heads",    "pilot_step",   "precision",
        "gate",       "threads",    "min_rows",   "report",         "isa",          "device",
        "pipeline",   "fuse_heads", "row_scales", "center_keys",    "query_scales", "key_scales",
        "scale_rule", "clip",       "saturate",   "device_timeout", "soc",          "device_cpu",
        "launch_us",  "max_graphs", "fault"}) {
    EXPECT_TRUE(contains(help, std::string("\n").append(key).append(" "))) << key;
  }
  EXPECT_TRUE(contains(help, "256"));
  EXPECT_LT(help.find("\nattn_error "), help.find("\nExpert keys:\n"));
  EXPECT_GT(help.find("\nkeep "), help.find("\nExpert keys:\n"));
}

}  // namespace
}  // namespace shadowattn
