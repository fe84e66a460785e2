// The compiled graphs of a device: compiled when first asked for, the least recently used ones
// forgotten to stay within the device's limits.
//
// Compiling is asynchronous and the device's queue is in order, so a graph may be launched as soon
// as `find` has returned, and one may be forgotten while launches of it are still queued.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "shadowattn/device.h"

namespace shadowattn {

struct GraphBankCounters {
  int64_t compiled = 0;  ///< compilations queued
  int64_t released = 0;  ///< to make room for others, or because refused
  int64_t hits = 0;      ///< asked for and there
  int64_t refused = 0;   ///< different specs that the device does not compile
  int64_t resident_graphs = 0;
  int64_t resident_bytes = 0;  ///< as DeviceCapabilities::graph_bytes says
};

/// One per device: it counts on being the only one that compiles there. What it compiled goes with
/// the device, which must outlive every call but not the destructor. Calls come from one thread at
/// a time, under the device's own rule. May throw std::bad_alloc, and is then as before the call
/// but for graphs that were released.
class GraphBank {
 public:
  explicit GraphBank(Device& device);

  /// The graph of `spec`; its compilation is queued when it is not there. Launch it before the next
  /// call, which may release it.
  ///
  /// kUnsupported: it can never be had: it is too large, or was refused before. Else the status of
  /// the device's compile or release.
  Result<GraphId> find(const GraphSpec& spec);

  /// Whether find(spec) would compile nothing.
  bool resident(const GraphSpec& spec) const;

  /// Queued by find, to be waited for; nullopt for a graph that is not resident.
  std::optional<Ticket> compile_ticket(GraphId id) const;

  /// To be told when the status of a graph's compilation or launch says that it was refused: its
  /// spec is not asked for again. Unknown ids, and those of graphs released long ago, are ignored.
  void refused(GraphId id);

  const GraphBankCounters& counters() const { return counters_; }

 private:
  struct Graph {
    GraphId id = 0;
    GraphSpec spec;
    Ticket ticket = 0;
    int64_t bytes = 0;
    int64_t last_use = 0;
  };
  using SpecKey = std::array<int32_t, 6>;

  static SpecKey key_of(const GraphSpec& spec);
  int64_t bytes_of(const GraphSpec& spec) const;
  bool fits(int64_t bytes) const;
  Status release_oldest();
  Status remove(size_t index);
  void remember_refusal(const GraphSpec& spec);

  Device& device_;
  int64_t max_graphs_ = 0;
  int64_t max_bytes_ = 0;
  GraphId next_id_ = 1;
  int64_t uses_ = 0;
  std::vector<Graph> graphs_;  ///< few: searched one by one
  std::set<SpecKey> refused_;
  /// Released while launches of them may still be on their way to a refusal.
  std::deque<std::pair<GraphId, GraphSpec>> released_;
  GraphBankCounters counters_;
};

}  // namespace shadowattn
