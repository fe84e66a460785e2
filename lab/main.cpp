// shadowattn-lab: the experiments behind shadowattn. Not installed.

#include "common/command_line.h"
#include "lab/subcommands.h"

namespace shadowattn::tool {
namespace {

constexpr Subcommand kSubcommands[] = {
    {"paper", "Run the experiments of the paper again, beside the published figures",
     "Examples:\n"
     "  shadowattn-lab paper --quick -o report/\n"
     "  shadowattn-lab paper -m model.gguf -f book.txt -f other.txt -o report/\n"
     "  shadowattn-lab paper --only recall,kernel\n"
     "  shadowattn-lab paper --list\n",
     add_paper},
    {"simulate", "Predict the prefill of a phone's SoC by published figures; nothing is run",
     "Examples:\n"
     "  shadowattn-lab simulate --soc soc/snapdragon-8gen3.json --model-shape qwen2-1.5b -c 4096\n"
     "  shadowattn-lab simulate --soc soc/snapdragon-8gen3.json -c 32768 --npu-speed 4 --cores 1\n"
     "  shadowattn-lab simulate --soc soc/snapdragon-8gen3.json --plan --svg call.svg -o "
     "plan.json\n",
     add_simulate},
    {"record", "Record queries, keys and values of a model's attention in a file",
     "Examples:\n"
     "  shadowattn-lab record -m model.gguf -f book.txt -o book.gguf\n"
     "  shadowattn-lab record -m model.gguf -f book.txt -o book.gguf --layers 0,11,23 -c 8192\n",
     add_record},
};

constexpr Program kProgram = {"shadowattn-lab", "The experiments behind shadowattn",
                              "Start with:\n"
                              "  shadowattn-lab paper --quick -o report/\n"
                              "  shadowattn-lab paper --help\n",
                              kSubcommands};

}  // namespace
}  // namespace shadowattn::tool

int main(int argc, char** argv) {
  return shadowattn::tool::run_program(shadowattn::tool::kProgram, argc, argv);
}
