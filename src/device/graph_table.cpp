#include "device/graph_table.h"

#include <string>
#include <utility>

namespace shadowattn {
namespace {

Status unknown_graph(GraphId id) {
  return Status::invalid_argument("no graph has the id " + std::to_string(id));
}

Status check_operand(const char* name, size_t head, int64_t offset, int64_t bytes,
                     int64_t memory_bytes) {
  const bool inside = offset >= 0 && offset <= memory_bytes && bytes <= memory_bytes - offset;
  if (inside && offset % kDeviceAlignment == 0) return {};
  const std::string what = std::string(name) + " of head " + std::to_string(head) + " at offset " +
                           std::to_string(offset);
  if (!inside) {
    return Status::invalid_argument(what + ", " + std::to_string(bytes) +
                                    " bytes, is outside the device's memory of " +
                                    std::to_string(memory_bytes) + " bytes");
  }
  return Status::invalid_argument(what + " is not aligned to " + std::to_string(kDeviceAlignment) +
                                  " bytes");
}

}  // namespace

Result<std::shared_ptr<Graph>> GraphTable::add(GraphId id, const GraphSpec& spec) {
  if (Status s = capabilities_.supports(spec); !s.ok()) return s;
  if (graphs_.contains(id)) {
    return Status::invalid_argument("a graph has the id " + std::to_string(id) + " already");
  }
  if (static_cast<int64_t>(graphs_.size()) >= capabilities_.max_graphs) {
    return Status::unsupported(capabilities_.name + " holds " +
                               std::to_string(capabilities_.max_graphs) + " graphs at a time");
  }
  const int64_t bytes = capabilities_.graph_bytes(spec);
  if (bytes > capabilities_.max_graph_bytes - bytes_) {
    return Status::unsupported(capabilities_.name + " has " +
                               std::to_string(capabilities_.max_graph_bytes) +
                               " bytes for graphs; " + std::to_string(bytes_) +
                               " are in use and this one takes " + std::to_string(bytes));
  }
  auto graph = std::make_shared<Graph>();
  graph->spec = spec;
  graphs_.emplace(id, graph);
  bytes_ += bytes;
  return graph;
}

Status GraphTable::remove(GraphId id) {
  const auto found = graphs_.find(id);
  if (found == graphs_.end()) return unknown_graph(id);
  bytes_ -= capabilities_.graph_bytes(found->second->spec);
  graphs_.erase(found);
  return {};
}

Result<std::shared_ptr<Graph>> GraphTable::find(GraphId id) const {
  const auto found = graphs_.find(id);
  if (found == graphs_.end()) return unknown_graph(id);
  return found->second;
}

Status check_launch(const GraphSpec& spec, std::span<const LaunchHead> heads,
                    int64_t memory_bytes) {
  if (static_cast<int64_t>(heads.size()) != spec.heads) {
    return Status::invalid_argument("the graph takes " + std::to_string(spec.heads) +
                                    " heads per launch, not " + std::to_string(heads.size()));
  }
  for (size_t h = 0; h < heads.size(); ++h) {
    const LaunchHead& head = heads[h];
    Status s = check_operand("query", h, head.query, spec.query_bytes(), memory_bytes);
    if (s.ok()) s = check_operand("key", h, head.key, spec.key_bytes(), memory_bytes);
    if (s.ok()) s = check_operand("scores", h, head.scores, spec.score_bytes(), memory_bytes);
    if (!s.ok()) return s;
  }
  return {};
}

}  // namespace shadowattn
