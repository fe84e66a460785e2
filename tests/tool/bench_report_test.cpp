// Markdown, JSON and CSV of the same rows.
#include "bench/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace shadowattn::tool {
namespace {

const BenchEnvironment kEnvironment = {.model_filename = "a \"model\", so to say.gguf",
                                       .model_type = "qwen2 1B Q4_0",
                                       .model_size = 2105856,
                                       .model_params = 1'500'000'000,
                                       .threads = 2,
                                       .ubatch = 512,
                                       .type_k = "f16",
                                       .type_v = "f16",
                                       .cpu = "Processor, 8 cores",
                                       .version = "1.2",
                                       .llama = "v3",
                                       .llama_commit = "abc",
                                       .text = "book.txt"};

std::vector<BenchRow> some_rows() {
  BenchSeries llama;
  llama.runs.resize(2);
  BenchSeries shadow;
  shadow.attention = Attention::kShadow;
  shadow.keep = 0.25;
  shadow.runs.resize(2);
  for (BenchRun& run : llama.runs) run.wall_ns = 200'000'000;
  for (BenchRun& run : shadow.runs) {
    run.wall_ns = 100'000'000;
    run.stages = {
        .pilot_ms = 1, .select_ms = 2, .attend_ms = 3.25, .attention_ms = 4, .other_ms = 96};
    run.dense_reasons = {{"short, for once", 1}, {"gate", 2}};
  }
  return bench_rows({.generation = false, .tokens = 512, .depth = 4096}, {llama, shadow});
}

std::vector<BenchRow> device_rows() {
  std::vector<BenchRow> rows = some_rows();
  BenchRow& row = rows[1];
  row.device = DeviceUse{.name = "npu-sim", .pipeline = "planned", .fuse_heads = 0};
  row.device_times = DeviceTimes{
      .launches = 6, .busy_ms = 2, .wait_ms = 1, .span_ms = 4, .simulation_cpu_ms = 3.5};
  row.device_idle_share = 0.5;
  row.cpu_idle_share = 0.125;
  row.simulation_cpu_s_per_1k = 0.0625;
  row.attention_cpu_s_per_1k = 0.25;
  row.device_notes = {{"lost", 2}};
  return rows;
}

std::string printed(const std::string& format, const std::vector<BenchRow>& rows,
                    const BenchEnvironment& environment = kEnvironment) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* file = open_memstream(&text, &size);
  const auto printer = make_bench_printer(format, environment, file);
  for (const BenchRow& row : rows) printer->add(row);
  printer->finish();
  std::fclose(file);
  std::string result(text, size);
  std::free(text);
  return result;
}

// Cells of a line in which quoted commas and doubled quotes occur.
std::vector<std::string> csv_cells(const std::string& line) {
  std::vector<std::string> cells(1);
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') quoted = !quoted;
    if (c == ',' && !quoted) {
      cells.emplace_back();
    } else {
      cells.back() += c;
    }
  }
  return cells;
}

TEST(BenchReport, MarkdownHasLlamaBenchsForm) {
  const std::string text = printed("md", some_rows());
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line.substr(0, 36), "| model                          |  ");
  const auto bars = std::count(line.begin(), line.end(), '|');
  EXPECT_EQ(bars, 14);
  for (int i = 0; i < 3; ++i) {
    std::getline(lines, line);
    EXPECT_EQ(std::count(line.begin(), line.end(), '|'), bars) << line;
  }
  EXPECT_NE(line.find("| SHADOWATTN |       2 | shadow 0.25  |   pp512 @ d4096 |"),
            std::string::npos)
      << line;
  EXPECT_NE(line.find("5120.00 ± 0.00 |    2.00 |"), std::string::npos) << line;
  EXPECT_NE(line.find("1.0/2.0/3.2/96.0 |"), std::string::npos) << line;
  EXPECT_NE(text.find("|   2.01 MiB |     1.50 B | CPU  "), std::string::npos);
  EXPECT_NE(text.find("\n\nbuild: shadowattn 1.2, llama.cpp v3 (abc), Processor, 8 cores\n"
                      "text: book.txt\n"),
            std::string::npos);
  EXPECT_NE(text.find("| x llama |    kept | attn CPU s/1k | CPU s/1k |"), std::string::npos);
}

TEST(BenchReport, MarkdownOfADeviceHasWhatItDid) {
  BenchEnvironment environment = kEnvironment;
  environment.device = "npu-sim";
  environment.cpus = 2;
  environment.device_cpu = 5;
  const std::string text = printed("md", device_rows(), environment);
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  const auto bars = std::count(line.begin(), line.end(), '|');
  EXPECT_EQ(bars, 11);
  for (int i = 0; i < 3; ++i) {
    std::getline(lines, line);
    EXPECT_EQ(std::count(line.begin(), line.end(), '|'), bars) << line;
  }
  EXPECT_EQ(line.find("| shadow 0.25, npu-sim planned, fuse all "), 0U) << line;
  EXPECT_NE(line.find("|          4.0 |              0.250 |"), std::string::npos) << line;
  EXPECT_NE(line.find("|       0.062 |      50.0 % |    12.5 % |"), std::string::npos) << line;
  EXPECT_NE(text.find("qwen2 1B Q4_0, 2.01 MiB, 1.50 B; 2 threads on 2 cores, npu-sim on core 5\n"),
            std::string::npos)
      << text;
}

TEST(BenchReport, JsonAndCsvNameTheDevice) {
  const auto rows = nlohmann::json::parse(printed("json", device_rows()));
  EXPECT_TRUE(rows[0]["device"].is_null());
  EXPECT_TRUE(rows[0]["device_times"]["busy_ms"].is_null());
  EXPECT_EQ(rows[1]["device"], "npu-sim");
  EXPECT_EQ(rows[1]["pipeline"], "planned");
  EXPECT_EQ(rows[1]["fuse_heads"], 0);
  EXPECT_EQ(rows[1]["device_times"]["simulation_cpu_ms"], 3.5);
  EXPECT_EQ(rows[1]["device_idle_share"], 0.5);
  EXPECT_EQ(rows[1]["cpu_idle_share"], 0.125);
  EXPECT_EQ(rows[1]["attention_cpu_s_per_1k"], 0.25);
  EXPECT_EQ(rows[1]["simulation_cpu_s_per_1k"], 0.0625);
  EXPECT_EQ(rows[1]["device_notes"]["lost"], 2);
  std::istringstream lines(printed("csv", device_rows()));
  std::string head;
  std::string llama;
  std::string shadow;
  std::getline(lines, head);
  std::getline(lines, llama);
  std::getline(lines, shadow);
  EXPECT_EQ(csv_cells(llama).size(), csv_cells(head).size());
  EXPECT_EQ(csv_cells(shadow).size(), csv_cells(head).size());
  EXPECT_NE(head.find(",busy_ms,"), std::string::npos);
}

TEST(BenchReport, JsonIsAnArrayAlsoWithoutRows) {
  const auto rows = nlohmann::json::parse(printed("json", some_rows()));
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0]["attn"], "llama");
  EXPECT_TRUE(rows[0]["stages"]["pilot_ms"].is_null());
  EXPECT_EQ(rows[1]["keep"], 0.25);
  EXPECT_EQ(rows[1]["n_prompt"], 512);
  EXPECT_EQ(rows[1]["n_gen"], 0);
  EXPECT_EQ(rows[1]["n_depth"], 4096);
  EXPECT_EQ(rows[1]["ratio"], 2.0);
  EXPECT_EQ(rows[1]["stages"]["attend_ms"], 3.25);
  EXPECT_EQ(rows[1]["dense_reasons"]["gate"], 4);
  EXPECT_EQ(rows[1]["samples_ns"], (std::vector<int64_t>{100'000'000, 100'000'000}));
  EXPECT_EQ(rows[1]["model_filename"], kEnvironment.model_filename);
  EXPECT_EQ(nlohmann::json::parse(printed("json", {})), nlohmann::json::array());
}

TEST(BenchReport, CsvHasTheSameColumnsInEachLine) {
  const std::string text = printed("csv", some_rows());
  std::istringstream lines(text);
  std::vector<std::vector<std::string>> table;
  for (std::string line; std::getline(lines, line);) table.push_back(csv_cells(line));
  ASSERT_EQ(table.size(), 3U);
  EXPECT_EQ(table[1].size(), table[0].size());
  EXPECT_EQ(table[2].size(), table[0].size());
  const auto cell = [&](size_t row, const std::string& key) {
    const auto at = std::find(table[0].begin(), table[0].end(), key);
    return at == table[0].end() ? "no column " + key
                                : table[row][static_cast<size_t>(at - table[0].begin())];
  };
  EXPECT_EQ(cell(1, "model_filename"), "\"a \"\"model\"\", so to say.gguf\"");
  EXPECT_EQ(cell(1, "pilot_ms"), "");
  EXPECT_EQ(cell(2, "attend_ms"), "3.25");
  EXPECT_EQ(cell(2, "samples_ns"), "\"100000000; 100000000\"");
  EXPECT_EQ(cell(2, "dense_reasons"), "\"gate: 4; short, for once: 2\"");
}

}  // namespace
}  // namespace shadowattn::tool
