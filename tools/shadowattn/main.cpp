// shadowattn: run a GGUF model with shadow attention, see it work, see what it costs.

#include "common/command_line.h"
#include "subcommands.h"

namespace shadowattn::tool {
namespace {

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
    {"eval", "Measure what sparse attention costs: probabilities, answers, attention mass",
     "Examples:\n"
     "  shadowattn eval needle -c 4096\n"
     "  shadowattn eval kld -m model.gguf -f book.txt -c 8192 -o kld.json --html kld.html\n"
     "  shadowattn eval kld -f book.txt --baseline sparse-f32,block,window,oracle\n"
     "  shadowattn eval recall -f book.txt --keep 0.05,0.1,0.2 --attn-error 0.01,0.05\n",
     add_eval},
    {"profile", "Measure a model once, so that later runs know which lists suit its heads",
     "Examples:\n"
     "  shadowattn profile -m model.gguf\n"
     "  shadowattn profile -m model.gguf -f book.txt -o model.shadow.json -c 8192\n"
     "  shadowattn profile -m model.gguf -f book.txt --method importance --budget 0.2\n",
     add_profile},
    {"trace", "Record when the device and the CPU did what, and how idle they were",
     "Examples:\n"
     "  shadowattn trace\n"
     "  shadowattn trace -o trace.json --svg timeline.svg\n"
     "  shadowattn trace -m model.gguf -f book.txt -c 4096 -t 3 -o trace.json -v\n"
     "  shadowattn trace --device cpu --json > times.json\n",
     add_trace},
    {"devices", "Show the kernels, this machine's features and the plug-in",
     "Examples:\n"
     "  shadowattn devices\n"
     "  shadowattn devices --json\n",
     add_devices},
};

constexpr Program kProgram = {"shadowattn",
                              "Long prompts, faster: sparse attention for llama.cpp models",
                              "Start with:\n"
                              "  shadowattn demo\n"
                              "  shadowattn run -f document.txt -p \"What is it about?\"\n"
                              "  shadowattn run --help\n",
                              kSubcommands};

}  // namespace
}  // namespace shadowattn::tool

int main(int argc, char** argv) {
  return shadowattn::tool::run_program(shadowattn::tool::kProgram, argc, argv);
}
