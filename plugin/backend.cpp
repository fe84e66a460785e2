#include "backend.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "attend.h"
#include "flash_attn.h"
#include "node_facts.h"
#include "openmp_executor.h"

namespace shadowattn::plugin {
namespace {

constexpr int kMaxThreads = 1024;

bool is_view(ggml_op op) {
  return op == GGML_OP_NONE || op == GGML_OP_RESHAPE || op == GGML_OP_VIEW ||
         op == GGML_OP_PERMUTE || op == GGML_OP_TRANSPOSE;
}

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// Empties `sessions` without touching what is in them: their threads exist in another process.
template <typename Sessions>
void leave_alone(Sessions& sessions) {
  static_cast<void>(new Sessions(std::move(sessions)));
  sessions.clear();
}

ggml_status to_ggml(const HostGgml& host, const Status& status) {
  say(host, GGML_LOG_LEVEL_ERROR, status.message());
  return status.code() == StatusCode::kOutOfMemory ? GGML_STATUS_ALLOC_FAILED : GGML_STATUS_FAILED;
}

}  // namespace

Backend::Backend(PluginState& state)
    : state_(state),
      context_{.number = state.next_backend(), .walk = {}},
      host_threads_(std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1,
                               GGML_DEFAULT_N_THREADS)) {}

Backend::~Backend() {
  for (const ggml_tensor* cache : caches_) state_.remove_cache(cache);
  if (forked_) leave_alone(sessions_);
}

void Backend::note_computed(const ggml_tensor* node) {
  const ggml_tensor* cache = cache_of(node);
  if (cache != nullptr && caches_.insert(cache).second) state_.add_cache(cache);
}

void Backend::check_process() {
  if (forked_ || state_.may_use_threads()) return;
  forked_ = true;
  leave_alone(sessions_);
}

int Backend::threads(const Config& config) const {
  if (forked_) return 1;
  return std::clamp(config.threads > 0 ? config.threads : host_threads_, 1, kMaxThreads);
}

Result<Backend::Session*> Backend::session(const std::shared_ptr<const Settings>& settings) {
  check_process();
  if (settings_ != settings) {
    sessions_.clear();
    settings_ = settings;
  }
  const int count = threads(settings->config);
  Session& session = sessions_[count];
  if (session.engine.has_value()) return &session;

  session.executor = forked_ ? make_thread_pool(1) : make_host_executor(count);
  if (session.executor == nullptr) {
    return Status(StatusCode::kOutOfMemory, "cannot start " + std::to_string(count) + " threads");
  }
  EngineOptions options = settings->config.engine;
  // A graph that was planned before the plug-in was switched off is still to be computed.
  if (!settings->config.enabled) options.mode = Mode::kDense;
  Result<Engine> engine = Engine::create(options, session.executor.get());
  if (!engine.ok()) return engine.status();
  session.engine.emplace(std::move(engine).value());
  if (settings->trace != nullptr) session.engine->set_trace(&trace_);
  return &session;
}

Status Backend::attend_by_engine(const AttentionCall& call, int layer, Session& session,
                                 CallReport* report) {
  const int64_t start = now_ns();
  Status status = session.engine->attend(call, report);
  if (status.ok() && !report->device.note.empty()) state_.note_device(report->device.note);
  if (settings_->trace == nullptr) return status;
  std::vector<TraceEvent> events = trace_.take();
  if (!status.ok()) return status;
  settings_->trace->add({.context = context_.number,
                         .layer = layer,
                         .rows = call.query.rows,
                         .keys = call.key.rows,
                         .start_ns = start,
                         .end_ns = now_ns(),
                         .events = std::move(events)});
  return status;
}

Status Backend::attend(const ggml_tensor* node, Session& session) {
  const int layer = layer_of(node);
  const AttendFn preferred = [&](const AttentionCall& call, CallReport* report) {
    return attend_by_engine(call, layer, session, report);
  };
  const AttendFn dense = [&session](const AttentionCall& call, CallReport* report) {
    if (!session.dense.has_value()) {
      EngineOptions options = session.engine->options();
      options.mode = Mode::kDense;
      Result<Engine> engine = Engine::create(options, session.executor.get());
      if (!engine.ok()) return engine.status();
      session.dense.emplace(std::move(engine).value());
    }
    return session.dense->attend(call, report);
  };
  Status status = attend_node(node, context_, preferred, dense, state_.report());
  const Ablation& ablation = settings_->config.ablate;
  if (!status.ok() || ablation.layer != layer || layer < 0) return status;
  const FlashAttnNode attention(node);
  for (int64_t stream = 0; stream < attention.streams(); ++stream) {
    ablate(ablation, layer, attention.call(stream).output);
  }
  return status;
}

ggml_status Backend::compute(ggml_cgraph* graph) {
  const std::shared_ptr<const Settings> settings = state_.settings();
  const Result<Session*> session = this->session(settings);
  if (!session.ok()) return to_ggml(state_.host(), session.status());
  state_.report().set_threads(threads(settings->config));
  const HostGgml& host = state_.host();
  for (int i = 0; i < host.graph_n_nodes(graph); ++i) {
    const ggml_tensor* node = host.graph_node(graph, i);
    if ((node->flags & GGML_TENSOR_FLAG_COMPUTE) == 0 || is_view(node->op)) continue;
    if (node->op != GGML_OP_FLASH_ATTN_EXT) {
      return to_ggml(host, Status(StatusCode::kInternal,
                                  "the host sent an operator that was not claimed (number " +
                                      std::to_string(static_cast<int>(node->op)) + ")"));
    }
    if (const Status status = attend(node, *session.value()); !status.ok())
      return to_ggml(host, status);
    note_computed(node);
  }
  return GGML_STATUS_SUCCESS;
}

}  // namespace shadowattn::plugin
