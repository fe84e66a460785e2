// Checks a timeline: shadowattn_check_trace device|no-device|any <stage>... <trace.json
//
// It must be the Trace Event Format, have every stage named and, if so asked, a device or none; its
// events must lie within their calls, and on one thread one after the other.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using nlohmann::json;

void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

struct Span {
  int64_t start = 0;  // ns
  int64_t end = 0;
  bool operator<(const Span& other) const { return start < other.start; }
};

Span span_of(const json& event) {
  const int64_t start = std::llround(event.at("ts").get<double>() * 1000);
  return {start, start + std::llround(event.at("dur").get<double>() * 1000)};
}

using Thread = std::pair<int, int>;

Thread thread_of(const json& event) {
  return {event.at("pid").get<int>(), event.at("tid").get<int>()};
}

void check_order(std::vector<Span> spans, const std::string& thread) {
  std::sort(spans.begin(), spans.end());
  for (size_t i = 1; i < spans.size(); ++i) {
    require(spans[i - 1].end <= spans[i].start, "two things at once on " + thread);
  }
}

void check(const json& trace, const std::string& device, const std::set<std::string>& stages) {
  std::map<Thread, std::string> names;
  std::map<int, Span> calls;
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("name") == "thread_name") names[thread_of(event)] = event.at("args").at("name");
    if (event.value("cat", "") != "call") continue;
    require(event.at("args").at("layer") >= 0, "a call without a layer");
    calls[event.at("args").at("call")] = span_of(event);
  }
  require(!calls.empty(), "no call");
  std::set<std::string> seen;
  std::map<Thread, std::vector<Span>> threads;
  for (const json& event : trace.at("traceEvents")) {
    if (event.value("cat", "") != "stage") continue;
    const Span span = span_of(event);
    const Span& call = calls.at(event.at("args").at("call"));
    require(call.start <= span.start && span.end <= call.end, "outside its call: " + event.dump());
    require(span.start <= span.end, "ends before it starts: " + event.dump());
    const bool on_device = names.at(thread_of(event)).starts_with("device ");
    require(on_device == (event.at("name") == "device"), "wrong thread: " + event.dump());
    seen.insert(event.at("name").get<std::string>());
    threads[thread_of(event)].push_back(span);
  }
  for (const std::string& stage : stages) require(seen.contains(stage), "no stage " + stage);
  if (device != "any") {
    require(seen.contains("device") == (device == "device"), "the device: not " + device);
  }
  for (const auto& [thread, spans] : threads) check_order(spans, names.at(thread));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    require(argc >= 2, "arguments: device|no-device|any <stage>...");
    check(json::parse(std::cin), argv[1], {argv + 2, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "check_trace: %s\n", error.what());
    return 1;
  }
  return 0;
}
