#include "paper/results.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/failure.h"
#include "common/files.h"

namespace shadowattn::tool::paper {
namespace {

constexpr int kVersion = 1;
constexpr char kAdvice[] = "; give another folder with -o, or --fresh to begin anew";

Json facts_json(const RunFacts& facts) {
  return {{"model", facts.model},
          {"model_description", facts.description},
          {"model_checksum", facts.model_checksum},
          {"texts", facts.texts},
          {"texts_checksum", facts.texts_checksum},
          {"machine", facts.machine},
          {"version", facts.version},
          {"threads", facts.threads},
          {"ubatch", facts.ubatch},
          {"seed", facts.seed},
          {"quick", facts.quick}};
}

// What the first difference is; empty: there is none.
std::string difference(const Json& there, const Json& here) {
  for (const auto& [key, value] : here.items()) {
    if (!there.contains(key) || there.at(key) != value) return key;
  }
  return "";
}

}  // namespace

Results::Results(std::string path, RunFacts facts, bool fresh)
    : path_(std::move(path)), facts_(std::move(facts)) {
  if (!fresh && std::filesystem::exists(path_)) load();
}

void Results::load() {
  std::ifstream file(path_, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw Failure("cannot read " + path_);
  try {
    const Json root = Json::parse(text.str());
    if (root.at("paper") != kVersion) throw Failure(path_ + " is of another version" + kAdvice);
    const std::string other = difference(
        root.at("facts"),
        Json::parse(facts_json(facts_).dump(-1, ' ', false, Json::error_handler_t::replace)));
    if (!other.empty()) {
      throw Failure(path_ + " holds results of another run: its " + other + " differs" + kAdvice);
    }
    for (const auto& [experiment, content] : root.at("experiments").items()) {
      for (const auto& [part, found] : content.at("parts").items()) {
        found_[experiment][part] = {found.at("values"), found.at("started").get<std::string>(),
                                    found.at("seconds").get<double>()};
      }
    }
  } catch (const Json::exception&) {
    throw Failure(path_ + " is damaged or no result of shadowattn-lab paper" + kAdvice);
  }
}

bool Results::has(const std::string& experiment, const std::string& part) const {
  const auto found = found_.find(experiment);
  return found != found_.end() && found->second.count(part) > 0;
}

void Results::add(const std::string& experiment, const std::string& part, Finding finding) {
  found_[experiment][part] = std::move(finding);
  write();
}

Findings Results::findings(const std::string& experiment,
                           const std::vector<std::string>& parts) const {
  Findings all;
  const auto found = found_.find(experiment);
  if (found == found_.end()) return all;
  for (const std::string& part : parts) {
    const auto finding = found->second.find(part);
    if (finding != found->second.end()) all.emplace_back(part, finding->second);
  }
  return all;
}

void Results::save(const std::string& command, bool complete) {
  command_ = command;
  complete_ = complete;
  write();
}

void Results::write() const {
  Json root = {{"paper", kVersion},
               {"complete", complete_},
               {"command", command_},
               {"facts", facts_json(facts_)}};
  Json& all = root["experiments"] = Json::object();
  for (const auto& [experiment, parts] : found_) {
    Json& content = all[experiment]["parts"] = Json::object();
    for (const auto& [part, finding] : parts) {
      content[part] = {
          {"started", finding.started}, {"seconds", finding.seconds}, {"values", finding.values}};
    }
  }
  const std::string text = root.dump(1, ' ', false, Json::error_handler_t::replace);
  write_file_atomically(path_, text + "\n");
}

}  // namespace shadowattn::tool::paper
