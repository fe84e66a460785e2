// The demo's work: one text, several questions, read by each side in turn.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "demo_text.h"
#include "llama_session.h"
#include "plugin_control.h"
#include "shadowattn/config.h"

namespace shadowattn::tool {

/// The text and the questions as tokens.
struct Reading {
  DemoText text;
  bool chat = false;                ///< asked in plain words through the model's chat template
  std::vector<llama_token> prefix;  ///< up to the end of the text
  std::vector<std::vector<llama_token>> questions;  ///< one per fact, to follow the prefix
};

/// One way to compute attention, and what came of it.
struct Side {
  Side(std::string side_name, Config side_config)
      : name(std::move(side_name)), config(std::move(side_config)) {}

  std::string name;
  Config config;
  std::vector<double> first_token_seconds;  ///< per run: from the first prompt token to the answer
  std::vector<std::string> answers;         ///< one per fact
  nlohmann::json report;                    ///< the plug-in's, over one prompt and all questions
};

struct DemoResult {
  std::string model;
  Reading reading;
  int threads = 0;
  std::vector<Side> sides;
  int runs = 0;  ///< timed ones, per side
};

/// Throws Failure when the text does not fit into the model's context.
Reading make_reading(const LlamaModel& model, const DemoTextOptions& options);

/// Warms up, lets every side read the text and answer all questions, then repeats the reading for
/// its time if that is quick. Sides take turns, each time in the opposite order. Stops early when
/// interrupted.
void read_side_by_side(LlamaRuntime& runtime, const PluginControl& plugin, const LlamaModel& model,
                       DemoResult& result);

}  // namespace shadowattn::tool
