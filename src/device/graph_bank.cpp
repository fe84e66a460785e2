#include "device/graph_bank.h"

#include <algorithm>

namespace shadowattn {
namespace {

/// More than any queue holds.
constexpr size_t kReleasedRemembered = 256;

}  // namespace

GraphBank::GraphBank(Device& device)
    : device_(device),
      max_graphs_(device.capabilities().max_graphs),
      max_bytes_(device.capabilities().max_graph_bytes) {}

Result<GraphId> GraphBank::find(const GraphSpec& spec) {
  for (Graph& graph : graphs_) {
    if (graph.spec == spec) {
      graph.last_use = ++uses_;
      ++counters_.hits;
      return graph.id;
    }
  }
  if (refused_.contains(key_of(spec))) {
    return Status::unsupported("the device refused to compile this graph before");
  }
  const int64_t bytes = bytes_of(spec);
  if (max_graphs_ < 1 || bytes > max_bytes_) {
    return Status::unsupported("the device has no room for this graph");
  }
  while (!fits(bytes)) {
    if (Status status = release_oldest(); !status.ok()) return status;
  }
  graphs_.reserve(graphs_.size() + 1);  // Nothing must fail once it is compiled.
  const Result<Ticket> ticket = device_.compile(next_id_, spec);
  if (!ticket.ok()) {
    // Other errors may pass: a full queue, say.
    if (ticket.status().code() == StatusCode::kUnsupported) remember_refusal(spec);
    return ticket.status();
  }
  graphs_.push_back({next_id_, spec, ticket.value(), bytes, ++uses_});
  ++counters_.compiled;
  ++counters_.resident_graphs;
  counters_.resident_bytes += bytes;
  return next_id_++;
}

bool GraphBank::resident(const GraphSpec& spec) const {
  return std::any_of(graphs_.begin(), graphs_.end(),
                     [&](const Graph& graph) { return graph.spec == spec; });
}

std::optional<Ticket> GraphBank::compile_ticket(GraphId id) const {
  for (const Graph& graph : graphs_) {
    if (graph.id == id) return graph.ticket;
  }
  return std::nullopt;
}

void GraphBank::refused(GraphId id) {
  for (size_t i = 0; i < graphs_.size(); ++i) {
    if (graphs_[i].id != id) continue;
    remember_refusal(graphs_[i].spec);
    // There may be nothing to release; a lost device shows at the next call.
    (void)remove(i);
    return;
  }
  for (const auto& [released_id, spec] : released_) {
    if (released_id != id) continue;
    remember_refusal(spec);
    // It may have been asked for again meanwhile.
    const GraphSpec again = spec;
    for (size_t i = 0; i < graphs_.size(); ++i) {
      if (graphs_[i].spec == again) {
        (void)remove(i);
        return;
      }
    }
    return;
  }
}

GraphBank::SpecKey GraphBank::key_of(const GraphSpec& spec) {
  return {spec.heads,
          spec.rows,
          spec.keys,
          spec.dim,
          spec.requantisation.mantissa,
          spec.requantisation.shift};
}

int64_t GraphBank::bytes_of(const GraphSpec& spec) const {
  const auto graph_bytes = device_.capabilities().graph_bytes;
  return graph_bytes == nullptr ? 0 : graph_bytes(spec);
}

bool GraphBank::fits(int64_t bytes) const {
  return counters_.resident_graphs < max_graphs_ && counters_.resident_bytes <= max_bytes_ - bytes;
}

Status GraphBank::release_oldest() {
  const auto oldest =
      std::min_element(graphs_.begin(), graphs_.end(),
                       [](const Graph& a, const Graph& b) { return a.last_use < b.last_use; });
  return remove(static_cast<size_t>(oldest - graphs_.begin()));
}

/// The graph is forgotten here even if the device fails to: it is lost then.
Status GraphBank::remove(size_t index) {
  const Graph graph = graphs_[index];
  released_.emplace_back(graph.id, graph.spec);
  if (released_.size() > kReleasedRemembered) released_.pop_front();
  graphs_.erase(graphs_.begin() + static_cast<std::ptrdiff_t>(index));
  ++counters_.released;
  --counters_.resident_graphs;
  counters_.resident_bytes -= graph.bytes;
  return device_.release(graph.id);
}

void GraphBank::remember_refusal(const GraphSpec& spec) {
  if (refused_.insert(key_of(spec)).second) ++counters_.refused;
}

}  // namespace shadowattn
