// A child process that cannot outlive its owner's interest in it.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "shadowattn/status.h"

namespace shadowattn {

/// Killed and reaped by the destructor. `kill` may be called from any thread while it exists.
class ChildProcess {
 public:
  struct InheritedFile {
    int fd = -1;       ///< here
    int in_child = 3;  ///< its number there, 3 or above, each once
  };

  ChildProcess() = default;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();

  /// Starts command[0], looked up in PATH, with no other files than `files` and an empty standard
  /// input and output. It gets a process group of its own: Ctrl+C in a terminal is the parent's
  /// business. kUnsupported: there is no such program. Only once.
  Status start(const std::vector<std::string>& command, std::span<const InheritedFile> files);

  void kill();
  /// 0 before start.
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

}  // namespace shadowattn
