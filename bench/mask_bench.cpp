// mask_bench: what masks cost. One attention call by llama.cpp, by our dense kernels and by shadow
// attention as users have it, for masks as KV caches make them.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "common/attention_options.h"
#include "common/failure.h"
#include "common/interrupt.h"
#include "common/llama_session.h"
#include "common/recording.h"
#include "common/statistics.h"
#include "measure/attention_problem.h"
#include "openmp_executor.h"
#include "program.h"
#include "shadowattn/engine.h"

namespace shadowattn::bench {
namespace {

using tool::Failure;
using tool::RecordedCall;
using tool::measure::AttentionProblem;
using tool::measure::GgmlCpu;

constexpr char kHelp[] =
    "Times one attention call under masks as KV caches make them: llama.cpp's kernel, our dense\n"
    "kernels and shadow attention with its gate, in turns. Operands are a recorded call's, or\n"
    "random; with random ones shadow attention has nothing to leave out.";

struct Options {
  std::string dump;
  int64_t keys = 8192;
  int64_t rows = 512;
  int rounds = 7;
  int threads = 1;
  std::string isa;
};

/// What a cell of the cache or a query row holds.
struct Token {
  int64_t sequence = 0;
  int64_t position = 0;
};

struct MaskCase {
  std::string name;
  int64_t rows = 0;
  std::function<Token(int64_t)> cell;
  std::function<Token(int64_t)> row;
  int64_t window = std::numeric_limits<int64_t>::max();
  float max_bias = 0.0F;
};

std::vector<MaskCase> mask_cases(int64_t keys, int64_t rows) {
  constexpr int64_t kChats = 8;
  const auto in_turn = [](int64_t j) { return Token{j % kChats, j / kChats}; };
  const auto in_order = [](int64_t j) { return Token{0, j}; };
  const int64_t per_chat = rows / kChats;
  const int64_t last = keys / kChats - per_chat;  // position of the first row of each chat
  const auto last_rows = [=](int64_t i) { return Token{0, keys - rows + i}; };
  return {
      {"causal", rows, in_order, last_rows},
      {"8 chats, prompts", rows, in_turn,
       [=](int64_t i) {
         return Token{i / per_chat, last + i % per_chat};
       }},
      {"8 chats, a token each", kChats, in_turn,
       [=](int64_t i) {
         return Token{i, keys / kChats - 1};
       }},
      {"hole of a quarter", rows,
       [=](int64_t j) {
         return Token{j >= keys / 4 && j < keys / 2 ? 1 : 0, j};
       },
       last_rows},
      // Positions go on past the end of the cache: cell j holds the latest of its positions.
      {"window of half, wrapped", rows,
       [=](int64_t j) {
         return Token{0, j < keys / 3 ? keys + j : j};
       },
       [=](int64_t i) {
         return Token{0, keys + keys / 3 - rows + i};
       },
       keys / 2},
      {"ALiBi", rows, in_order, last_rows, std::numeric_limits<int64_t>::max(), 8.0F},
      {"one token", 1, in_order,
       [=](int64_t) {
         return Token{0, keys - 1};
       }},
  };
}

/// f16 [keys, rows]: as llama.cpp fills it, with distances instead of zeros for ALiBi.
tool::OwnedTensor mask_of(const MaskCase& c, int64_t keys) {
  constexpr uint16_t kHidden = 0xFC00;
  std::vector<ggml_fp16_t> mask(static_cast<size_t>(keys * c.rows), kHidden);
  for (int64_t i = 0; i < c.rows; ++i) {
    const Token row = c.row(i);
    for (int64_t j = 0; j < keys; ++j) {
      const Token cell = c.cell(j);
      const int64_t distance = row.position - cell.position;
      if (cell.sequence != row.sequence || distance < 0 || distance >= c.window) continue;
      const float value = c.max_bias > 0.0F ? -static_cast<float>(distance) : 0.0F;
      mask[static_cast<size_t>(i * keys + j)] = ggml_fp32_to_fp16(value);
    }
  }
  tool::OwnedTensor tensor{GGML_TYPE_F16, {keys, c.rows}, {}};
  tensor.bytes.resize(mask.size() * sizeof mask[0]);
  std::memcpy(tensor.bytes.data(), mask.data(), tensor.bytes.size());
  return tensor;
}

/// The first `rows` query rows of every head.
tool::OwnedTensor first_rows(const tool::OwnedTensor& q, int64_t rows) {
  tool::OwnedTensor part{q.type, {q.shape[0], rows, q.shape[2]}, {}};
  const size_t row_bytes = static_cast<size_t>(q.shape[0]) * sizeof(float);
  for (int64_t h = 0; h < q.shape[2]; ++h) {
    const auto head = q.bytes.begin() + static_cast<int64_t>(row_bytes) * q.shape[1] * h;
    part.bytes.insert(part.bytes.end(), head, head + static_cast<int64_t>(row_bytes) * rows);
  }
  return part;
}

double milliseconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

Engine make_engine(const Options& options, Mode mode, Executor& executor) {
  Result<Engine> engine = Engine::create({.mode = mode, .isa = options.isa}, &executor);
  if (!engine.ok()) throw Failure(engine.status().message());
  return std::move(engine).value();
}

void attend(Engine& engine, const AttentionCall& call, CallReport* report) {
  if (const Status status = engine.attend(call, report); !status.ok()) {
    throw Failure(status.message());
  }
}

void print_case(const MaskCase& c, RecordedCall recorded, const Options& options,
                const GgmlCpu& cpu, Executor& executor) {
  recorded.mask = mask_of(c, recorded.k.shape[1]);
  recorded.q = first_rows(recorded.q, c.rows);
  recorded.params.max_bias = c.max_bias;
  const AttentionProblem problem(recorded, cpu);
  Engine dense = make_engine(options, Mode::kDense, executor);
  Engine shadow = make_engine(options, Mode::kShadow, executor);
  CallReport report;
  AttentionCall call = problem.call();
  call.layer = 0;
  std::vector<double> ms[3];
  std::vector<double> dense_x;
  std::vector<double> shadow_x;
  for (int round = -1; round < options.rounds; ++round) {  // the first one warms up
    if (tool::interrupted()) throw Failure("interrupted", tool::interrupted_status());
    double now[3];
    for (int i = 0; i < 3; ++i) {
      const int which = round % 2 == 0 ? i : 2 - i;
      now[which] = milliseconds([&] {
        if (which == 0) problem.run_ggml();
        if (which == 1) attend(dense, call, nullptr);
        if (which == 2) attend(shadow, call, &report);
      });
    }
    if (round < 0) continue;
    for (int i = 0; i < 3; ++i) ms[i].push_back(now[i]);
    dense_x.push_back(now[0] / now[1]);
    shadow_x.push_back(now[1] / now[2]);
  }
  const double kept = report.visible_pairs == 0 ? 1.0
                                                : static_cast<double>(report.kept_pairs) /
                                                      static_cast<double>(report.visible_pairs);
  std::printf("| %-23s | %9.2f | %8.2f | %9.2f | %14.2f | %14.2f | %5.1f %% | %7lld |\n",
              c.name.c_str(), tool::median(ms[0]), tool::median(ms[1]), tool::median(ms[2]),
              tool::median(dense_x), tool::median(shadow_x), 100.0 * kept,
              static_cast<long long>(report.lists));
  std::fflush(stdout);
}

void run(const Options& options) {
  const tool::LlamaRuntime runtime;
  const tool::InterruptGuard guard;
  const GgmlCpu cpu(options.threads);
  const auto executor = plugin::make_host_executor(options.threads);
  if (!executor) throw Failure("cannot start the threads");
  RecordedCall recorded;
  if (options.dump.empty()) {
    recorded = tool::measure::random_call({.keys = options.keys, .rows = options.rows});
  } else {
    recorded = tool::load_recording(options.dump).calls.front();
  }
  const int64_t rows = recorded.q.shape[1];
  const int64_t keys = recorded.k.shape[1];
  std::printf("%s, %d threads, %d rounds; %lld heads, %lld KV heads, head dim %lld, %lld keys\n\n",
              cpu.processor().c_str(), options.threads, options.rounds,
              static_cast<long long>(recorded.q.shape[2]),
              static_cast<long long>(recorded.k.shape[2]),
              static_cast<long long>(recorded.q.shape[0]), static_cast<long long>(keys));
  std::printf(
      "| mask                    | llama.cpp | dense ms | shadow ms | dense, x llama | "
      "shadow, x dense | kept    |   lists |\n"
      "| ----------------------- | ---------:| --------:| ---------:| --------------:| "
      "--------------:| -------:| -------:|\n");
  for (const MaskCase& c : mask_cases(keys, rows)) print_case(c, recorded, options, cpu, *executor);
}

}  // namespace
}  // namespace shadowattn::bench

int main(int argc, char** argv) {
  using namespace shadowattn::bench;
  Options options;
  options.threads = shadowattn::tool::default_threads();
  CLI::App app(kHelp, "mask_bench");
  app.add_option("--dump", options.dump,
                 "operands: the first call of a file made by `shadowattn-lab record` [random]")
      ->type_name("FILE");
  app.add_option("--keys", options.keys, "of random operands [8192]")
      ->check(CLI::Range(64, 1 << 20));
  app.add_option("--rows", options.rows, "of random operands [512]")->check(CLI::Range(8, 8192));
  app.add_option("--rounds", options.rounds, "[7]")->check(CLI::Range(1, 1000));
  app.add_option("--isa", options.isa, "instruction set to use [the best here]");
  shadowattn::tool::add_threads_option(app, options.threads);
  return run_program(app, argc, argv, [&] { run(options); });
}
