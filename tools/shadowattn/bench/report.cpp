#include "bench/report.h"

#include <algorithm>
#include <array>
#include <span>

#include "common/text.h"

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

Json device_json(const std::optional<DeviceTimes>& times) {
  if (!times) {
    return {{"launches", nullptr},
            {"busy_ms", nullptr},
            {"wait_ms", nullptr},
            {"span_ms", nullptr},
            {"simulation_cpu_ms", nullptr}};
  }
  return {{"launches", times->launches},
          {"busy_ms", times->busy_ms},
          {"wait_ms", times->wait_ms},
          {"span_ms", times->span_ms},
          {"simulation_cpu_ms", times->simulation_cpu_ms}};
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
    print(cells(row));
    std::fflush(out_);
  }

  void finish() override {
    if (!started_) return;
    if (!environment_.device.empty()) print_device();
    std::fprintf(out_, "\nbuild: shadowattn %s, llama.cpp %s (%s), %s\ntext: %s\n",
                 environment_.version.c_str(), environment_.llama.c_str(),
                 environment_.llama_commit.c_str(), environment_.cpu.c_str(),
                 one_line(environment_.text).c_str());
  }

 private:
  struct Field {
    const char* title;
    size_t width;
    bool right;
  };
  static constexpr std::array<Field, 13> kFields = {{{"model", 30, false},
                                                     {"size", 10, true},
                                                     {"params", 10, true},
                                                     {"backend", 10, false},
                                                     {"threads", 7, true},
                                                     {"attn", 12, false},
                                                     {"test", 15, true},
                                                     {"t/s", 20, true},
                                                     {"x llama", 7, true},
                                                     {"kept", 7, true},
                                                     {"attn CPU s/1k", 13, true},
                                                     {"CPU s/1k", 8, true},
                                                     {"pilot/select/attend/other ms", 28, true}}};
  // With a device there is more to say of attention, and less room for the model.
  static constexpr std::array<Field, 10> kDeviceFields = {{{"attn", 36, false},
                                                           {"test", 15, true},
                                                           {"t/s", 18, true},
                                                           {"x llama", 7, true},
                                                           {"attention ms", 12, true},
                                                           {"attention CPU s/1k", 18, true},
                                                           {"CPU s/1k", 8, true},
                                                           {"played s/1k", 11, true},
                                                           {"device idle", 11, true},
                                                           {"CPU waits", 9, true}}};

  std::span<const Field> fields() const {
    if (environment_.device.empty()) return kFields;
    return kDeviceFields;
  }

  std::vector<std::string> cells(const BenchRow& row) const {
    const std::string rate =
        format_fixed(row.ts.median, 2) + " ± " + format_fixed(row.ts.stddev, 2);
    const std::string ratio = format_fixed(row.ratio, 2);
    const std::string cpu = format_fixed(row.cpu_s_per_1k, 3);
    if (!environment_.device.empty()) {
      return {row.label(),
              row.test.name(),
              rate,
              ratio,
              row.stages ? format_fixed(row.stages->attention_ms, 1) : "-",
              figure(row.attention_cpu_s_per_1k),
              cpu,
              figure(row.simulation_cpu_s_per_1k),
              percent(row.device_idle_share),
              percent(row.cpu_idle_share)};
    }
    return {environment_.model_type,
            size_text(environment_.model_size),
            params_text(environment_.model_params),
            row.attention == Attention::kLlama ? "CPU" : "SHADOWATTN",
            std::to_string(environment_.threads),
            row.label(),
            row.test.name(),
            rate,
            ratio,
            percent(row.kept_share),
            figure(row.attention_cpu_s_per_1k),
            cpu,
            stages_text(row)};
  }

  static std::string figure(std::optional<double> value) {
    return value ? format_fixed(*value, 3) : "-";
  }
  static std::string percent(std::optional<double> share) {
    return share ? format_percent(*share) : "-";
  }

  void print_device() const {
    std::string cores = std::to_string(environment_.threads) + " threads";
    if (environment_.cpus > 0) cores += " on " + std::to_string(environment_.cpus) + " cores";
    if (environment_.device_cpu >= 0) {
      cores += ", " + environment_.device + " on core " + std::to_string(environment_.device_cpu);
    }
    std::fprintf(out_, "\n%s, %s, %s; %s\n", environment_.model_type.c_str(),
                 size_text(environment_.model_size).c_str(),
                 params_text(environment_.model_params).c_str(), cores.c_str());
  }

  void print_header() {
    std::vector<std::string> titles;
    std::string rule;
    for (const Field& field : fields()) {
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
      const Field& field = fields()[i];
      const std::string padding(field.width - std::min(width, field.width), ' ');
      line += "| " + (field.right ? padding + cells[i] : cells[i] + padding) + " ";
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
      if (key == "stages" || key == "device_times") {
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
  json["text"] = environment.text;
  json["n_batch"] = environment.ubatch;
  json["n_ubatch"] = environment.ubatch;
  json["n_threads"] = environment.threads;
  json["cpus"] = environment.cpus;
  json["device_cpu"] = environment.device_cpu;
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
  json["device"] = row.device ? Json(row.device->name) : Json(nullptr);
  json["pipeline"] = row.device ? Json(row.device->pipeline) : Json(nullptr);
  json["fuse_heads"] = row.device ? Json(row.device->fuse_heads) : Json(nullptr);
  json["ratio"] = row.ratio;
  json["other_flash_attn_ts"] = or_null(row.other_flash_attention_ts);
  json["cpu_s_per_1k"] = row.cpu_s_per_1k;
  json["attention_cpu_s_per_1k"] = or_null(row.attention_cpu_s_per_1k);
  json["simulation_cpu_s_per_1k"] = or_null(row.simulation_cpu_s_per_1k);
  json["median_ts"] = row.ts.median;
  json["min_ts"] = row.ts.min;
  json["max_ts"] = row.ts.max;
  json["stages"] = stages_json(row.stages);
  json["device_times"] = device_json(row.device_times);
  json["device_idle_share"] = or_null(row.device_idle_share);
  json["cpu_idle_share"] = or_null(row.cpu_idle_share);
  json["device_notes"] = row.device_notes;
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
