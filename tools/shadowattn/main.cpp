// shadowattn: run a GGUF model with shadow attention, see it work, see what this machine offers.

#include <llama.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "command.h"
#include "failure.h"
#include "text.h"

namespace shadowattn::tool {
namespace {

struct Subcommand {
  const char* name;
  const char* description;
  const char* examples;
  Action (*add)(CLI::App& app);
};

constexpr Subcommand kSubcommands[] = {
    {"run", "Ask a model a question about a document",
     "Examples:\n"
     "  shadowattn run -f book.txt -p \"Who is the captain?\"\n"
     "  shadowattn run -m model.gguf -f book.txt -p \"Who is the captain?\" --mode off\n"
     "  pdftotext paper.pdf - | shadowattn run -m model.gguf -f - -p \"Summarise.\" -n 400\n"
     "  shadowattn run -m model.gguf -f book.txt -p \"Why?\" --keep 0.1 --report report.json\n",
     add_run},
    {"demo", "Read a document with llama.cpp's attention and with ours, side by side",
     "Examples:\n"
     "  shadowattn demo\n"
     "  shadowattn demo -f report.txt -p \"What went wrong?\" -p \"Who noticed?\"\n"
     "  shadowattn demo -m Qwen2.5-0.5B-Instruct-Q8_0.gguf -c 16384\n",
     add_demo},
    {"bench", "Measure prefill and decode of llama.cpp's attention and ours, side by side",
     "Examples:\n"
     "  shadowattn bench\n"
     "  shadowattn bench -m model.gguf -p 512 -n 32 -d 0,2048,4096,8192,16384 -t 2 -r 5\n"
     "  shadowattn bench -m model.gguf --attn shadow --keep 0.2,0.1 -o json > bench.json\n"
     "  shadowattn bench -m model.gguf --fa 1 --depth-curve depth.svg\n",
     add_bench},
    {"devices", "Show the kernels, this machine's features and the plug-in",
     "Examples:\n"
     "  shadowattn devices\n"
     "  shadowattn devices --json\n",
     add_devices},
    {"profile", "Measure a model once, so that later runs know which lists suit its heads",
     "Examples:\n"
     "  shadowattn profile -m model.gguf\n"
     "  shadowattn profile -m model.gguf -f book.txt -o model.shadow.json -c 8192\n"
     "  shadowattn profile -m model.gguf -f book.txt --method importance --budget 0.2\n",
     add_profile},
    {"record", "Record queries, keys and values of a model's attention in a file",
     "Examples:\n"
     "  shadowattn record -m model.gguf -f book.txt -o book.gguf\n"
     "  shadowattn record -m model.gguf -f book.txt -o book.gguf --layers 0,11,23 -c 8192\n",
     add_record},
    {"trace", "Record when the device and the CPU did what, and how idle they were",
     "Examples:\n"
     "  shadowattn trace\n"
     "  shadowattn trace -o trace.json --svg timeline.svg\n"
     "  shadowattn trace -m model.gguf -f book.txt -c 4096 -t 3 -o trace.json -v\n"
     "  shadowattn trace --device cpu --json > times.json\n",
     add_trace},
    {"eval", "Measure what sparse attention costs: probabilities, answers, attention mass",
     "Examples:\n"
     "  shadowattn eval needle -c 4096\n"
     "  shadowattn eval kld -m model.gguf -f book.txt -c 8192 -o kld.json --html kld.html\n"
     "  shadowattn eval kld -f book.txt --baseline sparse-f32,block,window,oracle\n"
     "  shadowattn eval recall -f book.txt --keep 0.05,0.1,0.2 --attn-error 0.01,0.05\n",
     add_eval},
    {"paper", "Run the experiments of the paper again, beside the published figures",
     "Examples:\n"
     "  shadowattn paper --quick -o report/\n"
     "  shadowattn paper -m model.gguf -f book.txt -f other.txt -o report/\n"
     "  shadowattn paper --only recall,kernel\n"
     "  shadowattn paper --list\n",
     add_paper},
    {"simulate", "Predict the prefill of a phone's SoC by published figures; nothing is run",
     "Examples:\n"
     "  shadowattn simulate --soc soc/snapdragon-8gen3.json --model-shape qwen2-1.5b -c 4096\n"
     "  shadowattn simulate --soc soc/snapdragon-8gen3.json -c 32768 --npu-speed 4 --cores 1\n"
     "  shadowattn simulate --soc soc/snapdragon-8gen3.json --plan --svg call.svg -o plan.json\n",
     add_simulate},
};

constexpr char kMainExamples[] =
    "Start with:\n"
    "  shadowattn demo\n"
    "  shadowattn run -f document.txt -p \"What is it about?\"\n"
    "  shadowattn run --help\n";

// The command line, last argument first, as CLI11 takes it. llama.cpp's options of several letters
// behind one dash are understood as well: CLI11 would read them as several options.
std::vector<std::string> arguments(int argc, char** argv) {
  constexpr std::pair<const char*, const char*> kSpellings[] = {
      {"-ctk", "--cache-type-k"}, {"-ctv", "--cache-type-v"}, {"-fa", "--fa"}, {"-ub", "--ubatch"}};
  std::vector<std::string> all(argv + 1, argv + std::max(argc, 1));
  if (!all.empty() && all.front() == "bench") {
    for (const auto& [short_name, name] : kSpellings) {
      std::replace(all.begin(), all.end(), std::string(short_name), std::string(name));
    }
  }
  std::reverse(all.begin(), all.end());
  return all;
}

void print_error(const std::string& message) {
  std::fprintf(stderr, "shadowattn: %s\n", one_line(message).c_str());
}

// "run, demo, devices"
std::string subcommand_names() {
  std::string names;
  for (const Subcommand& command : kSubcommands) {
    names.append(names.empty() ? "" : ", ").append(command.name);
  }
  return names;
}

[[noreturn]] void fail_usage(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<const CLI::App*> chosen =
      app.get_subcommands([](const CLI::App* sub) { return sub->parsed(); });
  if (chosen.empty() && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    throw Failure("give one of the subcommands " + subcommand_names() + " (see shadowattn --help)",
                  kExitUsage);
  }
  std::string help = "shadowattn";
  for (const CLI::App* sub : chosen) help.append(" ").append(sub->get_name());
  throw Failure(std::string(error.what()) + " (see " + help + " --help)", kExitUsage);
}

int parse_and_run(int argc, char** argv) {
  CLI::App app("Long prompts, faster: sparse attention for llama.cpp models", "shadowattn");
  app.set_version_flag("--version", std::string("shadowattn ") + SHADOWATTN_VERSION +
                                        " (llama.cpp " + llama_version() + ")");
  app.require_subcommand(1);
  app.footer(kMainExamples);
  std::vector<std::pair<const CLI::App*, Action>> actions;
  for (const Subcommand& command : kSubcommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.description);
    sub->footer(command.examples);
    actions.emplace_back(sub, command.add(*sub));
  }
  try {
    app.parse(arguments(argc, argv));
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    fail_usage(app, error);
  }
  for (const auto& [sub, action] : actions) {
    if (sub->parsed()) return action();
  }
  return kExitUsage;
}

}  // namespace
}  // namespace shadowattn::tool

int main(int argc, char** argv) {
  using namespace shadowattn::tool;
  try {
    return parse_and_run(argc, argv);
  } catch (const Failure& failure) {
    print_error(failure.what());
    return failure.status();
  } catch (const std::bad_alloc&) {
    print_error("out of memory; try a smaller model or a shorter text");
  } catch (const std::exception& error) {
    print_error(std::string("unexpected error: ") + error.what());
  }
  return kExitFailure;
}
