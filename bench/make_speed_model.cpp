// make_speed_model: a GGUF model with the shape of a published one and seeded random weights.

#include <ggml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>

#include "common/failure.h"
#include "common/files.h"
#include "common/interrupt.h"
#include "common/progress.h"
#include "common/summary.h"
#include "common/text.h"
#include "program.h"
#include "speed_model.h"

namespace shadowattn::bench {
namespace {

using tool::Failure;

constexpr int32_t kSmallestVocab = 257;  // all bytes and an end token
constexpr int32_t kLargestVocab = 1 << 20;
constexpr int32_t kMostLayers = 512;

constexpr char kHelp[] =
    "Writes a model with the shape of a published one and random weights, to measure speed where\n"
    "no checkpoint is at hand. Random weights make flat attention in which neighbouring rows want\n"
    "different tokens: no figure of quality can be had from it, and token lists cut by mass would\n"
    "be too long. But with a fixed number of tokens in a list the work is that of a real model.";

struct Options {
  std::string shape;
  std::string type = "q4_0";
  std::string output;
  uint32_t seed = 1;
  int32_t layers = 0;  // 0: the shape's own
  int32_t vocab = 0;
};

const std::map<std::string, ggml_type>& weight_types() {
  static const std::map<std::string, ggml_type> types = {
      {"q4_0", GGML_TYPE_Q4_0}, {"q8_0", GGML_TYPE_Q8_0}, {"f16", GGML_TYPE_F16}};
  return types;
}

ModelShape chosen_shape(const Options& options) {
  const auto& shapes = model_shapes();
  ModelShape shape = *std::find_if(shapes.begin(), shapes.end(), [&](const ModelShape& candidate) {
    return candidate.name == options.shape;
  });
  if (options.layers > 0) shape.layers = options.layers;
  if (options.vocab > 0) shape.vocab = options.vocab;
  return shape;
}

struct Size {
  int64_t tensors = 0;
  int64_t elements = 0;
  int64_t bytes = 0;
};

Size& operator+=(Size& sum, const Size& size) {
  sum.tensors += size.tensors;
  sum.elements += size.elements;
  sum.bytes += size.bytes;
  return sum;
}

std::map<std::string, Size> sizes_by_type(const std::vector<ModelTensor>& tensors) {
  std::map<std::string, Size> sizes;
  for (const ModelTensor& tensor : tensors) {
    int64_t rows = 1;
    for (size_t i = 1; i < tensor.shape.size(); ++i) rows *= tensor.shape[i];
    const auto row_bytes = static_cast<int64_t>(ggml_row_size(tensor.type, tensor.shape[0]));
    sizes[ggml_type_name(tensor.type)] += {1, rows * tensor.shape[0], rows * row_bytes};
  }
  return sizes;
}

void print_sizes(const std::string& path, const std::map<std::string, Size>& sizes) {
  tool::Table table;
  table.align_right_from(1);
  table.add_row({"type", "tensors", "parameters", "size"});
  const auto add = [&](const std::string& name, const Size& size) {
    table.add_row({name, tool::format_count(size.tensors), tool::format_count(size.elements),
                   tool::format_bytes(size.bytes)});
  };
  Size total;
  for (const auto& [name, size] : sizes) {
    add(name, size);
    total += size;
  }
  add("all", total);
  const auto file_bytes = static_cast<int64_t>(std::filesystem::file_size(path));
  std::printf("%s%s: %s bytes\n", table.text().c_str(), path.c_str(),
              tool::format_count(file_bytes).c_str());
}

void make(const Options& options) {
  const ModelShape shape = chosen_shape(options);
  const ggml_type type = weight_types().at(options.type);
  tool::check_writable(options.output);
  const std::map<std::string, Size> sizes = sizes_by_type(model_tensors(shape, type));
  int64_t total = 0;
  for (const auto& [name, size] : sizes) total += size.elements;
  const tool::InterruptGuard guard;
  tool::Progress progress("writing", total, "parameters");
  write_speed_model(options.output, shape, type, options.seed, [&](int64_t done) {
    if (tool::interrupted()) throw Failure("interrupted", tool::interrupted_status());
    progress.update(done);
  });
  progress.clear();
  print_sizes(options.output, sizes);
}

void add_options(CLI::App& app, Options& options) {
  std::vector<std::string> shapes;
  for (const ModelShape& shape : model_shapes()) shapes.emplace_back(shape.name);
  std::vector<std::string> types;
  for (const auto& [name, type] : weight_types()) types.push_back(name);
  app.add_option("--shape", options.shape, "whose shape")->required()->check(CLI::IsMember(shapes));
  app.add_option("--type", options.type, "of the weights, as llama-quantize would make it [q4_0]")
      ->check(CLI::IsMember(types));
  app.add_option("--seed", options.seed, "of the weights [1]")->type_name("N");
  app.add_option("-o,--output", options.output, "model to write")->required()->type_name("FILE");
  app.add_option("--layers", options.layers, "layers [the shape's]")
      ->check(CLI::Range(1, kMostLayers));
  app.add_option("--vocab", options.vocab, "tokens [the shape's]")
      ->check(CLI::Range(kSmallestVocab, kLargestVocab));
}

}  // namespace
}  // namespace shadowattn::bench

int main(int argc, char** argv) {
  using namespace shadowattn::bench;
  Options options;
  CLI::App app(kHelp, "make_speed_model");
  add_options(app, options);
  return run_program(app, argc, argv, [&] { make(options); });
}
