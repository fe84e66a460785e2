// What `shadowattn-lab paper` makes of measured times: bounds, chapters, and what is said when
// parts are missing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "paper/ablation_times_chapter.h"
#include "paper/core_setups.h"
#include "paper/energy_chapter.h"
#include "paper/kernel_chapter.h"
#include "paper/prefill_chapter.h"
#include "paper/timing_values.h"

namespace shadowattn::tool::paper {
namespace {

Json method(const std::string& id, double ms) {
  return {{"id", id},
          {"wall_ns", {ms * 1e6, ms * 1e6}},
          {"median_wall_ns", ms * 1e6},
          {"median_cpu_ns", ms * 1e6}};
}

Json shadow(const std::string& id, double pilot_ms, double select_ms, double attend_ms,
            int threads = 1) {
  Json one = method(id, (pilot_ms + select_ms + attend_ms) / threads);
  one["pilot_ns"] = pilot_ms * 1e6;
  one["select_ns"] = select_ms * 1e6;
  one["attend_ns"] = attend_ms * 1e6;
  one["kept_share"] = 0.2;
  return one;
}

Json part(const Json& methods, int threads = 1, const std::string& setup = kOneCore) {
  return {{"operands",
           {{"heads", 14},
            {"kv_heads", 2},
            {"dim", 64},
            {"value_dim", 64},
            {"rows", 512},
            {"keys", 4096}}},
          {"keys", 4096},
          {"length", 4096},
          {"setups", Json::array({{{"id", setup},
                                   {"label", "some cores"},
                                   {"threads", threads},
                                   {"methods", methods}}})}};
}

Findings findings(const std::string& id, const Json& values) { return {{id, {values, "", 0}}}; }

const Claim* claim_with(const Chapter& chapter, const std::string& words) {
  for (const Claim& claim : chapter.claims) {
    if (claim.what.find(words) != std::string::npos) return &claim;
  }
  return nullptr;
}

std::string all_text(const Chapter& chapter) {
  std::string text;
  for (const eval::Section& section : chapter.sections) {
    text += section.heading + "\n" + section.note + "\n";
    for (const auto& row : section.grid.rows) {
      for (const std::string& cell : row) text += cell + "|";
      text += "\n";
    }
  }
  return text;
}

TEST(PaperTiming, TheDeviceHasACoreOfItsOwnOrIsLeftOut) {
  const MeasuringCores alone = measuring_cores({3}, {3});
  ASSERT_EQ(core_setups(alone).size(), 1U);
  EXPECT_EQ(core_setups(alone)[0].cpu, std::vector<int>{3});
  EXPECT_EQ(core_setups(alone)[0].device, -1);
  EXPECT_NE(cores_note(alone).find("Only one core"), std::string::npos);

  const MeasuringCores separate = measuring_cores({2, 3, 5, 7}, {2, 5, 7});
  const auto setups = core_setups(separate);
  ASSERT_EQ(setups.size(), 2U);
  EXPECT_EQ(setups[0].cpu, std::vector<int>{2});
  EXPECT_EQ(setups[0].device, 5);
  EXPECT_EQ(setups[1].cpu, (std::vector<int>{2, 5}));
  EXPECT_EQ(setups[1].device, -1);
  EXPECT_EQ(cores_note(separate), "");

  const MeasuringCores threads = measuring_cores({0, 1}, {0});
  EXPECT_EQ(core_setups(threads)[0].device, 1);
  EXPECT_NE(cores_note(threads).find("threads of one physical core"), std::string::npos);
}

TEST(PaperTiming, FiguresThatAreMissingAreNoNumbers) {
  const Json values = part(Json::array({method("llama", 8), method("dense", 4)}));
  EXPECT_EQ(figure(values, kOneCore, "llama", "median_wall_ns"), 8e6);
  EXPECT_TRUE(std::isnan(figure(values, kTwoCores, "llama", "median_wall_ns")));
  EXPECT_TRUE(std::isnan(figure(values, kOneCore, "shadow", "median_wall_ns")));
  EXPECT_TRUE(std::isnan(figure(values, kOneCore, "llama", "kept_share")));
  EXPECT_TRUE(std::isnan(figure(Json::object(), kOneCore, "llama", "median_wall_ns")));
  EXPECT_EQ(time_ratio(values, kOneCore, "llama", "dense"), 2);
  EXPECT_TRUE(std::isnan(time_ratio(values, kOneCore, "llama", "shadow")));
  EXPECT_EQ(milliseconds_text(NAN), "-");
  EXPECT_EQ(milliseconds_text(123456), "0.123");
  EXPECT_EQ(range_text({NAN, 2, 3.5}), "2.00 to 3.50");
  EXPECT_EQ(range_text({2, 2}), "2.00");
  EXPECT_EQ(range_text({NAN}), "-");
}

TEST(PaperTiming, BoundsAreSumsOfWhatWasMeasured) {
  const Json values = part(Json::array({method("dense-f32", 30), shadow("shadow", 8, 2, 6, 2)}), 2);
  // Half of 30 ms is Q·Kᵀ; stages are sums over two threads.
  EXPECT_DOUBLE_EQ(method_bound_ns(values, kOneCore, "sparse-f32"), (15 + 1 + 3) * 1e6);
  EXPECT_DOUBLE_EQ(method_bound_ns(values, kOneCore, "block"), 3e6);
  EXPECT_DOUBLE_EQ(method_bound_ns(values, kOneCore, "npu-int8"), 2 * 4e6);
  EXPECT_TRUE(std::isnan(method_bound_ns(values, kOneCore, "llama")));
  EXPECT_TRUE(std::isnan(method_bound_ns(values, kTwoCores, "block")));

  Json wide = values;
  wide["operands"]["value_dim"] = 192;  // a quarter is Q·Kᵀ
  EXPECT_DOUBLE_EQ(method_bound_ns(wide, kOneCore, "sparse-f32"), (7.5 + 1 + 3) * 1e6);
}

TEST(PaperTiming, WhatAFloatEstimateSaves) {
  Json methods = Json::array({method("dense", 100)});
  for (const char* keep : {"0.4", "0.3", "0.2"}) {
    methods.push_back(shadow("shared-" + std::string(keep), 5, 1, 9));
    methods.push_back(shadow("own-" + std::string(keep), 5, 15, 60));
  }
  const std::vector<FloatSparseBound> bounds = float_sparse_bounds(part(methods));
  ASSERT_EQ(bounds.size(), 3U);
  EXPECT_EQ(bounds[2].keep, 0.2);
  EXPECT_DOUBLE_EQ(bounds[2].estimate_ns, 50e6);
  EXPECT_NEAR(bounds[2].saved_shared, 0.4, 1e-12);
  EXPECT_NEAR(bounds[2].saved, -0.25, 1e-12);
  EXPECT_DOUBLE_EQ(bounds[2].estimate_share, 0.4);
  EXPECT_TRUE(float_sparse_bounds(part(Json::array())).empty());

  const Chapter chapter = kernel_chapter(findings("float-sparse", part(methods)));
  const Claim* claim = claim_with(chapter, "float estimate saves");
  ASSERT_NE(claim, nullptr);
  EXPECT_EQ(claim->measured, "-25.0 % / -25.0 % / -25.0 %");
  EXPECT_NE(claim->remark, "") << "a loss is no agreement";
}

TEST(PaperTiming, AFasterCallThanPublishedNeedsNoRemark) {
  const auto with_ratio = [](double ratio) {
    Json npu = shadow("shadow-npu", 0, 1, 3);
    npu["llama_ratio"] = ratio;
    npu["dense_ratio"] = 1.5;
    return kernel_chapter(findings("random-4096", part(Json::array({npu}))));
  };
  const Chapter fast = with_ratio(5);
  ASSERT_NE(claim_with(fast, "C/G-Full"), nullptr);
  EXPECT_EQ(claim_with(fast, "C/G-Full")->measured, "up to 5.00, mean 5.00");
  EXPECT_EQ(claim_with(fast, "C/G-Full")->remark, "");
  EXPECT_NE(claim_with(fast, "own dense")->remark, "");
  EXPECT_NE(claim_with(with_ratio(2), "C/G-Full")->remark, "");
}

TEST(PaperTiming, ChaptersCopeWithWhatIsMissing) {
  for (const auto chapter :
       {kernel_chapter, prefill_chapter, energy_chapter, ablation_times_chapter}) {
    EXPECT_TRUE(chapter({}).claims.empty());
    for (const char* id : {"random-4096", "recorded-4096", "float-sparse", "4096", "call-1024",
                           "prompt", "qwen2-0.5b"}) {
      Json values = part(Json::array({method("llama", 8), method("dense", 4)}));
      values["cores_note"] = "one core only";
      const Chapter written = chapter(findings(id, values));
      EXPECT_EQ(all_text(written).find("nan"), std::string::npos) << all_text(written);
      for (const Claim& claim : written.claims) {
        EXPECT_EQ((claim.measured + claim.remark).find("nan"), std::string::npos) << claim.what;
        EXPECT_NE(claim.measured, "") << claim.what;
      }
      chapter(findings(id, Json::object()));
    }
  }
  const Json alone = part(Json::array({method("llama", 8)}));
  EXPECT_NE(claim_with(kernel_chapter(findings("random-4096", alone)), "C/G-Full")
                ->remark.find("second core"),
            std::string::npos);
}

TEST(PaperTiming, AttentionsShareBoundsWhatAPromptCanGain) {
  EXPECT_DOUBLE_EQ(most_speedup(0), 1);
  EXPECT_DOUBLE_EQ(most_speedup(0.75), 4);
  EXPECT_TRUE(std::isinf(most_speedup(1)));

  Json values = part(Json::array({method("llama", 8), method("shadow-0.2-npu-planned", 8)}));
  values["tokens"] = values["length"];
  values["setups"][0]["methods"][0]["attention_share"] = 0.5;
  values["setups"][0]["methods"][1]["llama_ratio"] = 1.0;
  const Chapter chapter = prefill_chapter(findings("4096", values));
  ASSERT_EQ(chapter.claims.size(), 1U);
  EXPECT_EQ(chapter.claims[0].measured, "up to 1.00, mean 1.00");
  EXPECT_NE(chapter.claims[0].remark.find("50.0 % of llama.cpp's time at 4,096 tokens"),
            std::string::npos);
  EXPECT_NE(chapter.claims[0].remark.find("2.00 times as fast"), std::string::npos);
}

TEST(PaperTiming, EnergyIsCountedOrTheReasonIsGiven) {
  Json values = part(
      Json::array({method("llama", 8), shadow("shadow", 1, 0, 1), shadow("shadow-npu", 0, 0, 1)}));
  values["counter"] = {{"available", false}, {"missing", "the file is locked"}};
  const Chapter without = energy_chapter(findings("call-1024", values));
  EXPECT_EQ(claim_with(without, "Energy of one")->measured, "not available");
  EXPECT_EQ(claim_with(without, "Energy of one")->remark, "the file is locked");
  EXPECT_NE(all_text(without).find("Energy is not available: the file is locked"),
            std::string::npos);
  EXPECT_EQ(claim_with(without, "Processor time")->measured, "8.00");

  values["counter"] = {{"available", true}, {"packages", {"package-0"}}};
  for (const size_t i : {0, 1, 2}) {
    values["setups"][0]["methods"][i]["median_joules"] = i == 0 ? 6.0 : 0.987;
  }
  const Chapter counted = energy_chapter(findings("call-1024", values));
  EXPECT_EQ(claim_with(counted, "Energy of one")->measured, "6.08");
  EXPECT_EQ(claim_with(counted, "Energy of one")->remark, "");
  const std::string text = all_text(counted);
  EXPECT_NE(text.find("Counted: package-0"), std::string::npos);
  const size_t first = text.find("0.987");
  EXPECT_NE(first, std::string::npos);
  EXPECT_EQ(text.find("0.987", first + 1), std::string::npos) << "what plays npu-sim is no NPU";
}

TEST(PaperTiming, TimelinesAreDrawnFromTheJson) {
  Json values = part(Json::array());
  values["timelines"]["off"] = {
      {"wall_ns", 900},
      {"events",
       {{{"stage", "device"}, {"unit", -1}, {"start_ns", 100}, {"end_ns", 400}},
        {{"stage", "attend"}, {"unit", 0}, {"start_ns", 400}, {"end_ns", 900}},
        {{"stage", "unheard of"}, {"unit", 0}, {"start_ns", 0}, {"end_ns", 900}}}}};
  const TimelineCall call = timeline_call(values, "off");
  EXPECT_EQ(call.wall_ns(), 900);
  ASSERT_EQ(call.events.size(), 2U);
  EXPECT_EQ(call.events[0].unit, kTraceDeviceLane);
  EXPECT_EQ(call.events[1].stage, TraceStage::kAttend);
  EXPECT_TRUE(timeline_call(values, "planned").events.empty());

  const Chapter chapter = ablation_times_chapter(findings("qwen2-0.5b", values));
  ASSERT_EQ(chapter.sections.size(), 1U);
  EXPECT_TRUE(chapter.sections[0].picture.starts_with("<svg")) << chapter.sections[0].picture;
}

TEST(PaperTiming, ThePipelineIsComparedPairByPair) {
  const Json values = part(Json::array({method("planned", 10), method("off", 15),
                                        method("planned-one-head", 9), method("shadow", 30)}));
  const Chapter chapter = ablation_times_chapter(findings("qwen2-0.5b", values));
  ASSERT_EQ(chapter.claims.size(), 3U);
  EXPECT_EQ(chapter.claims[0].measured, "1.50");
  EXPECT_EQ(chapter.claims[0].remark, "");
  EXPECT_EQ(chapter.claims[1].measured, "0.90");
  EXPECT_NE(chapter.claims[1].remark, "");
  EXPECT_EQ(chapter.claims[2].measured, "3.00");

  Json with_loss = values;
  with_loss["setups"][0]["methods"].push_back(method("off-one-head", 4.5));
  with_loss["setups"][0]["methods"][2]["device"] = {{"launches", 2}};
  const Chapter mixed = ablation_times_chapter(findings("qwen2-0.5b", with_loss));
  EXPECT_EQ(mixed.claims[0].measured, "0.50 to 1.50");
  EXPECT_EQ(mixed.claims[0].remark, "least where a call is 2 launches");
}

}  // namespace
}  // namespace shadowattn::tool::paper
