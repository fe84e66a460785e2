// FLASH_ATTN_EXT nodes as llama.cpp's special cases make them, on the plug-in against llama.cpp's
// own CPU backend: masks of sliding windows, of mixed sequences, of shifted contexts, …
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ggml-backend.h"
#include "ggml.h"
#include "plugin_host.h"

namespace shadowattn::plugin_test {
namespace {

/// f32 here against the f16 products in parts of llama.cpp's kernel.
constexpr double kF32Error = 1e-6;
/// With precision=fast, where the processor has such instructions. BF16 rounds the significands of
/// values, evenly spread over [1, 2), in steps of 2^-7: a mean square of 2^-14 / 12 beside 7 / 3,
/// or 2.2e-6; the weights' errors are as large and independent. INT16 logits add little
/// (attend16.h). Four times the sum, for few and unlucky operands.
constexpr double kFastError = 2e-5;
/// ggml's own bar for attention, test-backend-ops.
constexpr double kGgmlBar = 5e-4;
constexpr float kHidden = -std::numeric_limits<float>::infinity();

struct Shape {
  int64_t dim = 64;
  int64_t value_dim = 64;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t rows = 70;
  int64_t keys = 300;
  int64_t streams = 1;
  int64_t mask_heads = 1;
  int64_t mask_streams = 1;
  int64_t mask_padding = 0;  ///< more mask rows than query rows
  bool masked = true;
  bool sinks = false;
  float max_bias = 0.0F;
  float softcap = 0.0F;
  ggml_type key_type = GGML_TYPE_F16;
  ggml_type value_type = GGML_TYPE_F16;
  float query_scale = 1.0F;  ///< larger: each row attends to fewer keys
};

/// What is added to the logit of (row, key) in the given mask head and stream.
using MaskFn = std::function<float(int64_t row, int64_t key, int64_t head, int64_t stream)>;

float causal(int64_t row, int64_t key, const Shape& shape) {
  return key <= row + shape.keys - shape.rows ? 0.0F : kHidden;
}

struct Deleter {
  void operator()(ggml_context* context) const { ggml_free(context); }
  void operator()(ggml_backend* backend) const { ggml_backend_free(backend); }
  void operator()(ggml_backend_buffer* buffer) const { ggml_backend_buffer_free(buffer); }
};
template <typename T>
using Owned = std::unique_ptr<T, Deleter>;

/// One node with its operands in the CPU's memory, which both backends share.
class Node {
 public:
  Node(const Shape& shape, const MaskFn& mask) : shape_(shape) {
    context_.reset(ggml_init({ggml_tensor_overhead() * 32 + ggml_graph_overhead(), nullptr, true}));
    ggml_context* ctx = context_.get();
    q_ = ggml_new_tensor_4d(ctx, GGML_TYPE_F32, shape.dim, shape.rows, shape.heads, shape.streams);
    k_ = cache_tensor(shape.key_type, shape.dim, "cache_k_l7");
    v_ = cache_tensor(shape.value_type, shape.value_dim, "cache_v_l7");
    if (shape.masked) {
      mask_ = ggml_new_tensor_4d(ctx, GGML_TYPE_F16, shape.keys, shape.rows + shape.mask_padding,
                                 shape.mask_heads, shape.mask_streams);
    }
    out_ =
        ggml_flash_attn_ext(ctx, q_, k_, v_, mask_, 1.0F / std::sqrt(static_cast<float>(shape.dim)),
                            shape.max_bias, shape.softcap);
    if (shape.sinks) {
      sinks_ = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, shape.heads);
      ggml_flash_attn_ext_add_sinks(out_, sinks_);
    }
    graph_ = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph_, out_);

    plugin();  // loads the backends
    cpu_.reset(ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr));
    shadow_.reset(ggml_backend_dev_init(ggml_backend_reg_dev_get(plugin(), 0), nullptr));
    buffer_.reset(ggml_backend_alloc_ctx_tensors(ctx, cpu_.get()));
    fill_random();
    if (shape.masked) fill_mask(mask);
  }

  bool supported() const { return ggml_backend_supports_op(shadow_.get(), out_); }
  std::vector<float> by_host() { return compute(cpu_.get()); }
  std::vector<float> by_plugin() { return compute(shadow_.get()); }

  /// Takes the other node's keys and values, as f32; this node's must be f32.
  void copy_cache(const Node& other) {
    for (size_t i = 0; i < caches_.size(); ++i) {
      const ggml_tensor* from = other.caches_[i];
      std::vector<float> values(static_cast<size_t>(ggml_nelements(from)));
      ggml_get_type_traits(from->type)->to_float(from->data, values.data(), ggml_nelements(from));
      ggml_backend_tensor_set(caches_[i], values.data(), 0, ggml_nbytes(caches_[i]));
    }
  }

  /// Puts `value` into key and value `key` of every head and stream.
  void poison(int64_t key, float value) {
    const ggml_fp16_t half = ggml_fp32_to_fp16(value);
    for (ggml_tensor* tensor : {k_, v_}) {
      for (int64_t i = 0; i < tensor->ne[0] * tensor->ne[2] * tensor->ne[3]; ++i) {
        const int64_t d = i % tensor->ne[0];
        const int64_t head = i / tensor->ne[0] % tensor->ne[2];
        const int64_t stream = i / tensor->ne[0] / tensor->ne[2];
        ggml_backend_tensor_set(
            tensor, &half,
            d * tensor->nb[0] + key * tensor->nb[1] + head * tensor->nb[2] + stream * tensor->nb[3],
            sizeof(half));
      }
    }
  }

 private:
  /// A permuted view of a larger tensor, as llama.cpp's KV cache gives it.
  ggml_tensor* cache_tensor(ggml_type type, int64_t dim, const char* name) {
    ggml_tensor* cache = ggml_new_tensor_3d(context_.get(), type, dim * shape_.kv_heads,
                                            shape_.keys + 32, shape_.streams);
    ggml_set_name(cache, name);
    caches_.push_back(cache);
    const size_t row = ggml_row_size(type, dim);
    ggml_tensor* view = ggml_view_4d(context_.get(), cache, dim, shape_.kv_heads, shape_.keys,
                                     shape_.streams, row, cache->nb[1], cache->nb[2], 0);
    return ggml_permute(context_.get(), view, 0, 2, 1, 3);
  }

  void fill_random() {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<ggml_tensor*> tensors = caches_;
    tensors.push_back(q_);
    if (sinks_ != nullptr) tensors.push_back(sinks_);
    for (ggml_tensor* tensor : tensors) {
      std::vector<float> values(static_cast<size_t>(ggml_nelements(tensor)));
      const float scale = tensor == q_ ? shape_.query_scale : 1.0F;
      for (float& value : values) value = scale * normal(random);
      std::vector<char> bytes(ggml_nbytes(tensor));
      ggml_quantize_chunk(tensor->type, values.data(), bytes.data(), 0, ggml_nrows(tensor),
                          tensor->ne[0], nullptr);
      ggml_backend_tensor_set(tensor, bytes.data(), 0, bytes.size());
    }
  }

  void fill_mask(const MaskFn& mask) {
    std::vector<ggml_fp16_t> values;
    for (int64_t stream = 0; stream < shape_.mask_streams; ++stream) {
      for (int64_t head = 0; head < shape_.mask_heads; ++head) {
        for (int64_t row = 0; row < shape_.rows + shape_.mask_padding; ++row) {
          for (int64_t key = 0; key < shape_.keys; ++key) {
            const float value = row < shape_.rows ? mask(row, key, head, stream) : kHidden;
            values.push_back(ggml_fp32_to_fp16(value));
          }
        }
      }
    }
    ggml_backend_tensor_set(mask_, values.data(), 0, ggml_nbytes(mask_));
  }

  std::vector<float> compute(ggml_backend_t backend) {
    std::vector<float> values(static_cast<size_t>(ggml_nelements(out_)), NAN);
    ggml_backend_tensor_set(out_, values.data(), 0, ggml_nbytes(out_));
    EXPECT_EQ(ggml_backend_graph_compute(backend, graph_), GGML_STATUS_SUCCESS);
    ggml_backend_tensor_get(out_, values.data(), 0, ggml_nbytes(out_));
    return values;
  }

  const Shape shape_;
  Owned<ggml_context> context_;
  Owned<ggml_backend> cpu_;
  Owned<ggml_backend> shadow_;
  Owned<ggml_backend_buffer> buffer_;
  ggml_cgraph* graph_ = nullptr;
  std::vector<ggml_tensor*> caches_;
  ggml_tensor* q_ = nullptr;
  ggml_tensor* k_ = nullptr;
  ggml_tensor* v_ = nullptr;
  ggml_tensor* mask_ = nullptr;
  ggml_tensor* sinks_ = nullptr;
  ggml_tensor* out_ = nullptr;
};

/// Squared error over squared size; infinite when something is not a number.
double nmse(const std::vector<float>& expected, const std::vector<float>& actual) {
  double error = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(expected[i]) - static_cast<double>(actual[i]);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    error += difference * difference;
    size += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  return size == 0.0 ? error : error / size;
}

/// An arithmetic and what it may cost.
struct Arithmetic {
  const char* config;
  double error;
};
constexpr Arithmetic kArithmetics[] = {{"precision=f32", kF32Error},
                                       {"precision=fast", kFastError}};

void expect_like_host(const Shape& shape, const MaskFn& mask) {
  // attn_error=0: else the gate may choose lists that lose as much as the dial allows.
  for (const std::string config : {"mode=dense", "mode=shadow,attn_error=0,keep=1",
                                   "mode=shadow,attn_error=0,keep=1,rows=1"}) {
    for (const Arithmetic& arithmetic : kArithmetics) {
      configure(config + "," + arithmetic.config + ",min_rows=1,threads=2");
      Node node(shape, mask);
      ASSERT_TRUE(node.supported()) << report().dump(2);
      EXPECT_LT(nmse(node.by_host(), node.by_plugin()), arithmetic.error)
          << config << "," << arithmetic.config;
    }
  }
}

TEST(NodeTest, Causal) {
  const Shape shape;
  expect_like_host(
      shape, [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
}

TEST(NodeTest, NoMask) {
  Shape shape;
  shape.masked = false;
  expect_like_host(shape, {});
}

TEST(NodeTest, SlidingWindow) {
  const Shape shape;
  expect_like_host(shape, [&](int64_t row, int64_t key, int64_t, int64_t) {
    const int64_t position = row + shape.keys - shape.rows;
    return position - key < 40 ? causal(row, key, shape) : kHidden;
  });
}

TEST(NodeTest, InterleavedSequences) {
  const Shape shape;
  expect_like_host(shape, [&](int64_t row, int64_t key, int64_t, int64_t) {
    return row % 3 == key % 3 ? causal(row, key, shape) : kHidden;
  });
}

TEST(NodeTest, CellsInAnyOrderAsAfterContextShift) {
  const Shape shape;
  expect_like_host(shape, [&](int64_t row, int64_t key, int64_t, int64_t) {
    const int64_t position = (key * 7 + 120) % shape.keys;
    return causal(row, position, shape);
  });
}

TEST(NodeTest, RowsThatSeeNothingAndPaddedMask) {
  Shape shape;
  shape.mask_padding = 58;
  expect_like_host(shape, [&](int64_t row, int64_t key, int64_t, int64_t) {
    return row % 5 == 0 ? kHidden : causal(row, key, shape);
  });
}

TEST(NodeTest, MaskPerHeadWithFiniteValues) {
  Shape shape;
  shape.mask_heads = 2;
  expect_like_host(shape, [&](int64_t row, int64_t key, int64_t head, int64_t) {
    return causal(row, key, shape) -
           0.01F * static_cast<float>(key % 17) * static_cast<float>(head);
  });
}

TEST(NodeTest, StreamsWithOneMaskAndWithTheirOwn) {
  Shape shape;
  shape.streams = 3;
  expect_like_host(
      shape, [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
  shape.mask_streams = 3;
  expect_like_host(shape, [&](int64_t row, int64_t key, int64_t, int64_t stream) {
    return key >= 20 * stream ? causal(row, key, shape) : kHidden;
  });
}

TEST(NodeTest, AlibiWithOddNumberOfHeads) {
  Shape shape;
  shape.heads = 6;
  shape.max_bias = 8.0F;
  expect_like_host(shape, [&](int64_t row, int64_t key, int64_t, int64_t) {
    const int64_t distance = row + shape.keys - shape.rows - key;
    return distance >= 0 ? -static_cast<float>(distance) : kHidden;
  });
}

TEST(NodeTest, SoftcapAndSinks) {
  Shape shape;
  shape.softcap = 5.0F;
  shape.sinks = true;
  expect_like_host(
      shape, [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
}

TEST(NodeTest, ValuesOfAnotherDim) {
  Shape shape;
  shape.dim = 192;
  shape.value_dim = 128;
  expect_like_host(
      shape, [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
}

// llama.cpp's own kernel quantises the queries too where keys are q8_0, so it is a loose judge; on
// the same numbers in f32 it is exact.
TEST(NodeTest, QuantisedCache) {
  constexpr ggml_type kQ8 = GGML_TYPE_Q8_0;
  constexpr ggml_type kF16 = GGML_TYPE_F16;
  for (const auto& [key_type, value_type] : {std::pair{kQ8, kQ8}, {kQ8, kF16}, {kF16, kQ8}}) {
    Shape shape;
    shape.dim = 96;
    shape.streams = 2;
    shape.key_type = key_type;
    shape.value_type = value_type;
    Shape exact_shape = shape;
    exact_shape.key_type = exact_shape.value_type = GGML_TYPE_F32;
    const MaskFn mask = [&](int64_t row, int64_t key, int64_t, int64_t) {
      return causal(row, key, shape);
    };
    for (const std::string config : {"mode=dense", "mode=shadow,attn_error=0,keep=1",
                                     "mode=shadow,attn_error=0,keep=1,rows=1"}) {
      for (const Arithmetic& arithmetic : kArithmetics) {
        configure(config + "," + arithmetic.config + ",min_rows=1,threads=2");
        Node node(shape, mask);
        ASSERT_TRUE(node.supported()) << report().dump(2);
        Node exact(exact_shape, mask);
        exact.copy_cache(node);
        const std::vector<float> got = node.by_plugin();
        EXPECT_LT(nmse(exact.by_host(), got), arithmetic.error) << config << arithmetic.config;
        EXPECT_LT(nmse(node.by_host(), got), kGgmlBar) << config << arithmetic.config;
      }
    }
  }
}

// Cells that no row may see can hold anything: freed sequences, memory never written.
TEST(NodeTest, GarbageInHiddenCellsDoesNotLeak) {
  const Shape shape;
  const MaskFn mask = [&](int64_t row, int64_t key, int64_t, int64_t) {
    return key == 11 || key == 250 ? kHidden : causal(row, key, shape);
  };
  std::vector<float> dense;
  for (const std::string config : {"mode=dense", "mode=shadow,attn_error=0,keep=1",
                                   "mode=shadow,keep=0.2,floor=16,recent=4,gate=off"}) {
    configure(config + ",min_rows=1,threads=2");
    Node node(shape, mask);
    const std::vector<float> clean = node.by_plugin();
    if (dense.empty()) dense = clean;
    for (const float garbage : {NAN, INFINITY}) {
      node.poison(11, garbage);
      node.poison(250, garbage);
      // The engine may then attend to everything, but never let garbage into the output.
      const std::vector<float> output = node.by_plugin();
      EXPECT_LT(std::min(nmse(clean, output), nmse(dense, output)), kFastError) << config;
    }
  }
}

TEST(NodeTest, ShadowKeepsAShareAndStaysClose) {
  configure(
      "attn_error=0,keep=0.25,floor=16,recent=8,rows=1,share_heads=no,gate=off,min_rows=1,threads="
      "2");
  Shape shape;
  shape.keys = 1000;
  shape.query_scale = 4.0F;
  Node node(shape,
            [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
  reset_report();
  const std::vector<float> sparse = node.by_plugin();
  const nlohmann::json layer = report()["layers"][0];
  EXPECT_EQ(layer["layer"], 7);
  EXPECT_EQ(layer["calls"], 1);
  EXPECT_EQ(layer["rows"], shape.rows);
  EXPECT_EQ(layer["dense_calls"], 0);
  EXPECT_NEAR(layer["kept_share"].get<double>(), 0.25, 0.05);
  EXPECT_LT(nmse(node.by_host(), sparse), 0.01);
}

// Whatever the gate decides on this machine, the report says it and the output fits.
TEST(NodeTest, GateIsReported) {
  configure("keep=0.9,floor=16,rows=1,share_heads=no,min_rows=1,threads=2");
  Shape shape;
  shape.keys = 1000;
  Node node(shape,
            [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
  reset_report();
  const std::vector<float> output = node.by_plugin();
  const nlohmann::json totals = report()["totals"];
  const bool dense = totals["dense_calls"] == 1;
  EXPECT_EQ(totals["kept_share"] == 1.0, dense);
  EXPECT_EQ(totals["lists"] == 0, dense);
  EXPECT_EQ(totals["dense_reasons"].contains("dense attention is predicted to be faster"), dense);
  EXPECT_GT(totals["scratch_bytes"], 0);
  EXPECT_LT(nmse(node.by_host(), output), dense ? kFastError : 0.01);
}

TEST(NodeTest, AForkedProcessComputesTheSame) {
  // Its threads, and those of OpenMP, are those of the process before the fork: they are not there.
  configure("mode=dense,min_rows=1,threads=2");
  const Shape shape;
  Node node(shape,
            [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
  const std::vector<float> expected = node.by_plugin();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(60);
    _exit(node.by_plugin() == expected ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(node.by_plugin(), expected);
}

/// A shape of which a device has something to estimate, and a config that lets it.
constexpr char kOnDevice[] =
    "device=npu-sim,keep=0.25,floor=16,recent=8,gate=off,min_rows=1,threads=2";

Shape device_shape() {
  Shape shape;
  shape.keys = 1000;
  shape.query_scale = 4.0F;
  return shape;
}

TEST(NodeTest, DeviceEstimatesAndIsReported) {
  configure(kOnDevice);
  const Shape shape = device_shape();
  Node node(shape,
            [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
  reset_report();
  const std::vector<float> sparse = node.by_plugin();
  const nlohmann::json totals = report()["totals"];
  ASSERT_TRUE(totals.contains("device")) << totals.dump(2);
  EXPECT_GT(totals["device"]["launches"], 0) << totals.dump(2);
  EXPECT_EQ(totals["device"]["rows"], shape.rows * shape.kv_heads);
  EXPECT_GT(totals["device"]["busy_ms"], 0.0);
  EXPECT_EQ(totals["device"]["notes"], nlohmann::json::object());
  EXPECT_NEAR(totals["kept_share"].get<double>(), 0.25, 0.05);
  EXPECT_LT(nmse(node.by_host(), sparse), 0.1);
}

// Lost in the middle, or never to be had: one line, and the same rows by the CPU.
TEST(NodeTest, DoesWithoutTheDevice) {
  const Shape shape = device_shape();
  Node node(shape,
            [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
  for (const std::string fault : {"fault=lost", "soc=/no/such/file.json"}) {
    configure(std::string(kOnDevice) + "," + fault);
    reset_report();
    testing::internal::CaptureStderr();
    const std::vector<float> sparse = node.by_plugin();
    node.by_plugin();
    const std::string messages = testing::internal::GetCapturedStderr();
    EXPECT_EQ(std::count(messages.begin(), messages.end(), '\n'), 1) << messages;
    EXPECT_NE(messages.find("shadowattn: npu-sim "), std::string::npos) << messages;
    const nlohmann::json device = report()["totals"]["device"];
    ASSERT_EQ(device["notes"].size(), 1U) << device.dump(2);
    EXPECT_EQ(*device["notes"].begin(), 2) << "calls";
    EXPECT_LT(nmse(node.by_host(), sparse), 0.1) << fault;
  }
}

/// Start and end in units of nanoseconds.
std::pair<int64_t, int64_t> span_of(const nlohmann::json& event) {
  const int64_t start = std::llround(event["ts"].get<double>() * 1000);
  return {start, start + std::llround(event["dur"].get<double>() * 1000)};
}

TEST(NodeTest, TimelineHoldsCallsAndWhatHappenedInThem) {
  const std::string path = ::testing::TempDir() + "shadowattn-timeline.json";
  configure(std::string(kOnDevice) + ",trace=" + path);
  const Shape shape = device_shape();
  Node node(shape,
            [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
  node.by_plugin();
  configure(std::string(kOnDevice) + ",rows=4,trace=" + path);  // goes on in the same file
  node.by_plugin();
  EXPECT_FALSE(std::ifstream(path).is_open()) << "written too early";
  configure("");
  const nlohmann::json trace = nlohmann::json::parse(std::ifstream(path));
  std::remove(path.c_str());

  std::map<int, std::string> threads;
  std::map<int, nlohmann::json> calls;
  std::map<std::string, std::set<std::string>> lanes;  // by stage
  for (const nlohmann::json& event : trace["traceEvents"]) {
    if (event["name"] == "thread_name") threads[event["tid"]] = event["args"]["name"];
    if (event.value("cat", "") == "call") calls[event["args"]["call"]] = event;
  }
  ASSERT_EQ(calls.size(), 2U);
  std::map<int, std::vector<std::pair<int64_t, int64_t>>> spans;  // by thread
  for (const nlohmann::json& event : trace["traceEvents"]) {
    if (event.value("cat", "") != "stage") continue;
    EXPECT_EQ(event["args"]["layer"], 7);
    const auto [start, end] = span_of(event);
    const auto [call_start, call_end] = span_of(calls.at(event["args"]["call"]));
    EXPECT_GE(start, call_start) << event;
    EXPECT_LE(end, call_end) << event;
    lanes[event["name"]].insert(threads.at(event["tid"]));
    spans[event["tid"]].emplace_back(start, end);
  }
  EXPECT_EQ(lanes["device"], std::set<std::string>{"device npu-sim"});
  for (const std::string stage : {"prepare", "wait", "select", "attend"}) {
    ASSERT_FALSE(lanes[stage].empty()) << stage;
    for (const std::string& lane : lanes[stage]) EXPECT_TRUE(lane == "CPU 0" || lane == "CPU 1");
  }
  for (auto& [thread, on_thread] : spans) {  // one thing after the other
    std::sort(on_thread.begin(), on_thread.end());
    for (size_t i = 1; i < on_thread.size(); ++i) {
      EXPECT_GE(on_thread[i].first, on_thread[i - 1].second) << threads[thread];
    }
  }
}

TEST(NodeTest, TimelineIsHandedOutOnRequest) {
  configure(std::string(kOnDevice) + ",device=cpu,trace=/dev/null");
  const Shape shape = device_shape();
  Node node(shape,
            [&](int64_t row, int64_t key, int64_t, int64_t) { return causal(row, key, shape); });
  node.by_plugin();
  const std::string text = take_trace().dump();
  EXPECT_NE(text.find("\"pilot\""), std::string::npos);
  EXPECT_EQ(text.find("\"device\",\"ph\""), std::string::npos);
  EXPECT_EQ(take_trace()["traceEvents"].size(), 0U);
  configure("");
  node.by_plugin();
  EXPECT_EQ(take_trace()["traceEvents"].size(), 0U) << "recorded without being asked";
  EXPECT_NE(configure_error("trace=/no/such/folder/t.json"), "");
}

TEST(NodeTest, DeclinesAndSaysWhy) {
  const auto declined = [](const Shape& shape) {
    reset_report();
    const Node node(shape, [](int64_t, int64_t, int64_t, int64_t) { return 0.0F; });
    EXPECT_FALSE(node.supported());
    const nlohmann::json entry = report()["declined"][0];
    EXPECT_EQ(entry["layers"], nlohmann::json::array({7}));
    return entry["reason"].get<std::string>();
  };
  configure("min_rows=71");
  EXPECT_EQ(declined(Shape()), "fewer than 71 rows");
  // Left to the plug-in: this backend has computed nothing yet.
  configure("");
  Shape few;
  few.rows = 31;
  few.keys = 2000;
  EXPECT_EQ(declined(few), "fewer than 32 rows");
  Shape odd;
  odd.dim = odd.value_dim = 40;
  EXPECT_NE(declined(odd).find("40"), std::string::npos);
  Shape other;
  other.key_type = GGML_TYPE_Q4_0;
  EXPECT_EQ(declined(other), "k type q4_0");
  other.key_type = GGML_TYPE_F16;
  other.value_type = GGML_TYPE_BF16;
  EXPECT_EQ(declined(other), "v type bf16");
}

}  // namespace
}  // namespace shadowattn::plugin_test
