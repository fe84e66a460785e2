#include "bench_report.h"

#include <algorithm>
#include <array>

#include "text.h"

namespace shadowattn::tool {
namespace {

using Json = nlohmann::ordered_json;

template <typename Value>
Json or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json stages_json(const std::optional<AttentionStages>& stages) {
  if (!stages) {
    return {{"pilot_ms", nullptr},
            {"select_ms", nullptr},
            {"attend_ms", nullptr},
            {"attention_ms", nullptr},
            {"other_ms", nullptr}};
  }
  return {{"pilot_ms", stages->pilot_ms},
          {"select_ms", stages->select_ms},
          {"attend_ms", stages->attend_ms},
          {"attention_ms", stages->attention_ms},
          {"other_ms", stages->other_ms}};
}

// 2105856 -> "2.01 MiB", as llama-bench writes it.
std::string size_text(int64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1024.0 * 1024.0);
  return mib < 1024 ? format_fixed(mib, 2) + " MiB" : format_fixed(mib / 1024, 2) + " GiB";
}

std::string params_text(int64_t params) {
  const auto count = static_cast<double>(params);
  return params < 1'000'000'000 ? format_fixed(count / 1e6, 2) + " M"
                                : format_fixed(count / 1e9, 2) + " B";
}

std::string stages_text(const BenchRow& row) {
  if (!row.stages) return "-";
  const AttentionStages& stages = *row.stages;
  std::string text;
  for (const double ms : {stages.pilot_ms, stages.select_ms, stages.attend_ms, stages.other_ms}) {
    text += (text.empty() ? "" : "/") + format_fixed(ms, 1);
  }
  return text;
}

class MarkdownPrinter : public BenchPrinter {
 public:
  MarkdownPrinter(const BenchEnvironment& environment, std::FILE* out)
      : environment_(environment), out_(out) {}

  void add(const BenchRow& row) override {
    if (!started_) print_header();
    started_ = true;
    print({environment_.model_type, size_text(environment_.model_size),
           params_text(environment_.model_params),
           row.attention == Attention::kLlama ? "CPU" : "SHADOWATTN",
           std::to_string(environment_.threads), row.label(), row.test.name(),
           format_fixed(row.ts.median, 2) + " ± " + format_fixed(row.ts.stddev, 2),
           format_fixed(row.ratio, 2), format_fixed(row.cpu_s_per_1k, 3), stages_text(row)});
    std::fflush(out_);
  }

  void finish() override {
    if (!started_) return;
    std::fprintf(out_, "\nbuild: shadowattn %s, llama.cpp %s (%s), %s\n",
                 environment_.version.c_str(), environment_.llama.c_str(),
                 environment_.llama_commit.c_str(), environment_.cpu.c_str());
  }

 private:
  struct Field {
    const char* title;
    size_t width;
    bool right;
  };
  static constexpr std::array<Field, 11> kFields = {{{"model", 30, false},
                                                     {"size", 10, true},
                                                     {"params", 10, true},
                                                     {"backend", 10, false},
                                                     {"threads", 7, true},
                                                     {"attn", 12, false},
                                                     {"test", 15, true},
                                                     {"t/s", 20, true},
                                                     {"x llama", 7, true},
                                                     {"CPU s/1k", 8, true},
                                                     {"pilot/select/attend/other ms", 28, true}}};

  void print_header() {
    std::vector<std::string> titles;
    std::string rule;
    for (const Field& field : kFields) {
      titles.emplace_back(field.title);
      rule += "| " + std::string(field.width - (field.right ? 1 : 0), '-') +
              (field.right ? ":" : "") + " ";
    }
    print(titles);
    std::fprintf(out_, "%s|\n", rule.c_str());
  }

  void print(const std::vector<std::string>& cells) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      const size_t width = display_width(cells[i]);
      const std::string padding(kFields[i].width - std::min(width, kFields[i].width), ' ');
      line += "| " + (kFields[i].right ? padding + cells[i] : cells[i] + padding) + " ";
    }
    std::fprintf(out_, "%s|\n", line.c_str());
  }

  const BenchEnvironment& environment_;
  std::FILE* out_;
  bool started_ = false;
};

class JsonPrinter : public BenchPrinter {
 public:
  JsonPrinter(const BenchEnvironment& environment, std::FILE* out)
      : environment_(environment), out_(out) {}

  void add(const BenchRow& row) override {
    const std::string text =
        bench_json(environment_, row).dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
    std::fprintf(out_, "%s%s", started_ ? ",\n" : "[\n", text.c_str());
    started_ = true;
    std::fflush(out_);
  }

  void finish() override { std::fputs(started_ ? "\n]\n" : "[]\n", out_); }

 private:
  const BenchEnvironment& environment_;
  std::FILE* out_;
  bool started_ = false;
};

std::string csv_quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : one_line(text)) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

// Lists and counted reasons become one cell each.
std::string csv_cell(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return csv_quoted(value.get<std::string>());
  if (!value.is_structured()) return value.dump();
  std::string text;
  for (const auto& [key, item] : value.items()) {
    text += text.empty() ? "" : "; ";
    text += value.is_object() ? key + ": " + item.dump() : item.dump();
  }
  return csv_quoted(text);
}

class CsvPrinter : public BenchPrinter {
 public:
  CsvPrinter(const BenchEnvironment& environment, std::FILE* out)
      : environment_(environment), out_(out) {}

  void add(const BenchRow& row) override {
    Json flat = Json::object();
    const Json full = bench_json(environment_, row);
    for (const auto& [key, value] : full.items()) {
      if (key == "stages") {
        for (const auto& [stage, ms] : value.items()) flat[stage] = ms;
      } else {
        flat[key] = value;
      }
    }
    if (!started_) print_line(flat, [](const std::string& key, const Json&) { return key; });
    print_line(flat, [](const std::string&, const Json& value) { return csv_cell(value); });
    started_ = true;
    std::fflush(out_);
  }

  void finish() override {}

 private:
  template <typename Cell>
  void print_line(const Json& flat, Cell cell) {
    std::string line;
    for (const auto& [key, value] : flat.items()) line += cell(key, value) + ",";
    line.pop_back();
    std::fprintf(out_, "%s\n", line.c_str());
  }

  const BenchEnvironment& environment_;
  std::FILE* out_;
  bool started_ = false;
};

}  // namespace

Json bench_json(const BenchEnvironment& environment, const BenchRow& row) {
  Json json;
  json["build_commit"] = environment.llama_commit;
  json["build_number"] = 0;  // llama.cpp's library does not tell
  json["shadowattn"] = environment.version;
  json["llama_cpp"] = environment.llama;
  json["cpu_info"] = environment.cpu;
  json["model_filename"] = environment.model_filename;
  json["model_type"] = environment.model_type;
  json["model_size"] = environment.model_size;
  json["model_n_params"] = environment.model_params;
  json["n_batch"] = environment.ubatch;
  json["n_ubatch"] = environment.ubatch;
  json["n_threads"] = environment.threads;
  json["type_k"] = environment.type_k;
  json["type_v"] = environment.type_v;
  json["flash_attn"] = row.flash_attention ? 1 : 0;
  json["n_prompt"] = row.test.generation ? 0 : row.test.tokens;
  json["n_gen"] = row.test.generation ? row.test.tokens : 0;
  json["n_depth"] = row.test.depth;
  json["test_time"] = row.started;
  json["avg_ns"] = static_cast<int64_t>(row.ns.mean);
  json["stddev_ns"] = static_cast<int64_t>(row.ns.stddev);
  json["avg_ts"] = row.ts.mean;
  json["stddev_ts"] = row.ts.stddev;
  json["samples_ns"] = row.samples_ns;
  json["samples_ts"] = row.samples_ts;
  json["attn"] = to_string(row.attention);
  json["keep"] = or_null(row.keep);
  json["ratio"] = row.ratio;
  json["other_flash_attn_ts"] = or_null(row.other_flash_attention_ts);
  json["cpu_s_per_1k"] = row.cpu_s_per_1k;
  json["median_ts"] = row.ts.median;
  json["min_ts"] = row.ts.min;
  json["max_ts"] = row.ts.max;
  json["stages"] = stages_json(row.stages);
  json["kept_share"] = or_null(row.kept_share);
  json["dense_reasons"] = row.dense_reasons;
  json["peak_memory_bytes"] = row.peak_memory_bytes;
  json["kv_bytes"] = row.kv_bytes;
  return json;
}

std::unique_ptr<BenchPrinter> make_bench_printer(const std::string& format,
                                                 const BenchEnvironment& environment,
                                                 std::FILE* out) {
  if (format == "json") return std::make_unique<JsonPrinter>(environment, out);
  if (format == "csv") return std::make_unique<CsvPrinter>(environment, out);
  return std::make_unique<MarkdownPrinter>(environment, out);
}

}  // namespace shadowattn::tool
