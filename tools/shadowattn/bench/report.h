// The rows of a benchmark as Markdown, JSON or CSV, in llama-bench's form.
#pragma once

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/result.h"

namespace shadowattn::tool {

/// What all rows have in common.
struct BenchEnvironment {
  std::string model_filename;
  std::string model_type;  ///< "qwen2 1B Q4_0"
  int64_t model_size = 0;  ///< bytes
  int64_t model_params = 0;
  int threads = 0;
  int cpus = 0;          ///< cores that the process was restricted to; 0: it was not
  std::string device{};  ///< that columns use; "": none
  int device_cpu = -1;   ///< core that plays it; -1: any
  int ubatch = 0;
  std::string type_k;
  std::string type_v;
  std::string cpu;           ///< name of the processor
  std::string version;       ///< of shadowattn
  std::string llama;         ///< version of llama.cpp
  std::string llama_commit;  ///< "unknown" for a tree of the user's
  std::string text;          ///< name of the file that is read
};

/// One row with all its keys, as docs/command.md lists them.
nlohmann::ordered_json bench_json(const BenchEnvironment& environment, const BenchRow& row);

/// Prints rows as they come. Nothing is printed before the first.
class BenchPrinter {
 public:
  virtual ~BenchPrinter() = default;
  virtual void add(const BenchRow& row) = 0;
  /// After the last row, also when the measurement was stopped: what was printed is complete.
  virtual void finish() = 0;
};

/// `format`: "md", "json" or "csv". `environment` and `out` must outlive the printer.
std::unique_ptr<BenchPrinter> make_bench_printer(const std::string& format,
                                                 const BenchEnvironment& environment,
                                                 std::FILE* out);

}  // namespace shadowattn::tool
