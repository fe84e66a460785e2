// check_bench json|csv|xml <file>: checks an output of `shadowattn bench` key by key, so that the
// script needs no parser. Prints what is wrong first.
//   json <file> <tests> <labels>: as many tests as given, each with one row per label
//   csv  <file> <lines>           that many lines, all with the same number of cells
//   xml  <file>                   well-formed: every tag closed, one root

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using nlohmann::json;

void require(bool good, const std::string& what) {
  if (!good) throw std::runtime_error(what);
}

std::string read(const std::string& path) {
  std::ifstream file(path);
  require(file.good(), "cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

double number(const json& row, const char* key) {
  require(row.contains(key) && row[key].is_number(), std::string(key) + " is no number");
  return row[key].get<double>();
}

void require_positive(const json& row, std::initializer_list<const char*> keys) {
  for (const char* key : keys) require(number(row, key) > 0, std::string(key) + " is not above 0");
}

void require_text(const json& row, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    require(row.contains(key) && row[key].is_string() && !row[key].get<std::string>().empty(),
            std::string(key) + " is no text");
  }
}

void check_samples(const json& row) {
  const auto ns = row.at("samples_ns").get<std::vector<int64_t>>();
  const auto ts = row.at("samples_ts").get<std::vector<double>>();
  require(!ns.empty() && ns.size() == ts.size(), "samples of different number");
  const double tokens = number(row, "n_prompt") + number(row, "n_gen");
  for (size_t i = 0; i < ns.size(); ++i) {
    const double expected = 1e9 * tokens / static_cast<double>(ns[i]);
    require(std::abs(ts[i] - expected) <= 1e-6 * expected, "samples_ts is not tokens / time");
    require(ts[i] >= number(row, "min_ts") && ts[i] <= number(row, "max_ts"), "min_ts, max_ts");
  }
  require(number(row, "median_ts") >= number(row, "min_ts"), "median_ts is below min_ts");
}

// What the plug-in says that it did fits what was asked for.
void check_ours(const json& row, bool dense) {
  const json& stages = row.at("stages");
  for (const char* key : {"pilot_ms", "select_ms", "other_ms"}) {
    require(number(stages, key) >= 0, std::string(key) + " is negative");
  }
  require_positive(stages, {"attend_ms", "attention_ms"});
  const double keep = number(row, "keep");
  const double share = number(row, "kept_share");
  require(keep > 0 && keep <= 1 && share > 0 && share <= 1, "keep, kept_share");
  if (dense) {
    require(share == 1 && number(stages, "pilot_ms") == 0, "dense was not dense");
    require(!row.at("dense_reasons").empty(), "dense has no reason");
  } else if (row.at("dense_reasons").empty()) {
    const bool estimated = number(stages, "pilot_ms") > 0 || !row.at("device").is_null();
    require(share < 1 && estimated, "shadow was not sparse");
  }
}

void check_row(const json& row) {
  require_text(row, {"build_commit", "shadowattn", "llama_cpp", "cpu_info", "model_filename",
                     "model_type", "type_k", "type_v", "test_time", "attn"});
  require_positive(
      row, {"model_size", "model_n_params", "n_batch", "n_ubatch", "n_threads", "avg_ns", "avg_ts",
            "median_ts", "min_ts", "max_ts", "ratio", "peak_memory_bytes", "kv_bytes"});
  for (const char* key :
       {"build_number", "flash_attn", "n_depth", "stddev_ns", "stddev_ts", "cpu_s_per_1k"}) {
    require(number(row, key) >= 0, std::string(key) + " is negative");
  }
  require((number(row, "n_prompt") > 0) != (number(row, "n_gen") > 0), "n_prompt, n_gen");
  check_samples(row);
  const std::string attn = row.at("attn");
  if (attn == "llama") {
    require(number(row, "ratio") == 1, "llama.cpp's ratio to itself");
    require(row.at("keep").is_null() && row.at("kept_share").is_null(), "llama.cpp keeps");
    require(row.at("stages").at("attend_ms").is_null(), "llama.cpp has stages");
    require(row.at("other_flash_attn_ts").is_null() ||
                number(row, "other_flash_attn_ts") <= number(row, "median_ts"),
            "not the faster of llama.cpp's two");
  } else {
    require(number(row, "flash_attn") == 1, "flash_attn of ours");
    check_ours(row, attn == "dense");
  }
}

// A device's work shows in its own figures, and nowhere else.
void check_device(const json& row) {
  const json& times = row.at("device_times");
  if (row.at("device").is_null()) {
    require(row.at("pipeline").is_null() && times.at("launches").is_null(), "a device by chance");
    return;
  }
  require_text(row, {"device", "pipeline"});
  require(number(row, "fuse_heads") >= 0, "fuse_heads");
  require_positive(times, {"launches", "busy_ms", "span_ms", "simulation_cpu_ms"});
  require_positive(row, {"simulation_cpu_s_per_1k"});
  require(number(times, "wait_ms") >= 0, "wait_ms is negative");
  for (const char* key : {"device_idle_share", "cpu_idle_share"}) {
    require(number(row, key) >= 0 && number(row, key) <= 1, std::string(key) + " is no share");
  }
  require(row.at("device_notes").empty(), "the device was not used throughout");
}

std::string label(const json& row) {
  const std::string attn = row.at("attn");
  if (attn != "shadow") return attn;
  const std::string name = attn + row.at("keep").dump();
  if (row.at("device").is_null()) return name;
  return name + ":" + row.at("pipeline").get<std::string>() + ":" + row.at("fuse_heads").dump();
}

// labels: "llama dense shadow0.2 shadow0.2:planned:0"
void check_json(const std::string& path, size_t tests, const std::vector<std::string>& labels) {
  const json rows = json::parse(read(path));
  require(rows.is_array(), "not an array");
  require(rows.size() == tests * labels.size(), std::to_string(rows.size()) + " rows");
  for (size_t i = 0; i < rows.size(); ++i) {
    check_row(rows[i]);
    check_device(rows[i]);
    require(label(rows[i]) == labels[i % labels.size()], "row " + label(rows[i]));
    const json& first = rows[i - i % labels.size()];
    for (const char* key : {"n_prompt", "n_gen", "n_depth"}) {
      require(rows[i][key] == first[key], "rows of one test differ");
    }
    require(rows[i]["samples_ns"].size() == first["samples_ns"].size(), "runs of one test differ");
  }
}

size_t csv_cells(const std::string& line) {
  size_t cells = 1;
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') quoted = !quoted;
    if (c == ',' && !quoted) ++cells;
  }
  require(!quoted, "a quote is open");
  return cells;
}

void check_csv(const std::string& path, size_t lines) {
  std::ifstream file(path);
  size_t count = 0;
  size_t cells = 0;
  for (std::string line; std::getline(file, line); ++count) {
    if (count == 0) cells = csv_cells(line);
    require(cells > 30 && csv_cells(line) == cells, "cells of line " + std::to_string(count + 1));
  }
  require(count == lines, std::to_string(count) + " lines");
}

void check_xml(const std::string& path) {
  const std::string text = read(path);
  std::vector<std::string> open;
  size_t roots = 0;
  for (size_t at = 0; (at = text.find('<', at)) != std::string::npos;) {
    const size_t end = text.find('>', at);
    require(end != std::string::npos, "a tag is open");
    const std::string tag = text.substr(at + 1, end - at - 1);
    at = end + 1;
    require(tag.find('<') == std::string::npos, "< in a tag");
    require(std::count(tag.begin(), tag.end(), '"') % 2 == 0, "a quote is open");
    if (tag.front() == '?') continue;
    if (tag.front() == '/') {
      require(!open.empty() && tag.substr(1) == open.back(), "closed but not open: " + tag);
      open.pop_back();
      continue;
    }
    if (open.empty()) ++roots;
    if (tag.back() != '/') open.push_back(tag.substr(0, tag.find_first_of(" \n")));
  }
  require(open.empty() && roots == 1, "tags are open, or there is not one root");
}

void check(const std::vector<std::string>& arguments) {
  require(arguments.size() >= 2, "usage: see the source");
  const std::string& kind = arguments[0];
  if (kind == "json") {
    check_json(arguments[1], std::stoul(arguments.at(2)), {arguments.begin() + 3, arguments.end()});
  } else if (kind == "csv") {
    check_csv(arguments[1], std::stoul(arguments.at(2)));
  } else {
    check_xml(arguments[1]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    check({argv + 1, argv + argc});
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "check_bench: %s\n", error.what());
    return 1;
  }
}
