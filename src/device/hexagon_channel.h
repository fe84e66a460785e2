// The way to the program on the DSP: shared memory for messages and operands, a doorbell, and the
// process itself. The messages are hexagon/protocol.h's; what they mean is the device's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/child_process.h"
#include "device/file_descriptor.h"
#include "hexagon/protocol.h"
#include "shadowattn/status.h"

namespace shadowattn {

/// Memory mapped from a file; unmapped by the destructor.
class SharedMapping {
 public:
  SharedMapping() = default;
  SharedMapping(const SharedMapping&) = delete;
  SharedMapping& operator=(const SharedMapping&) = delete;
  ~SharedMapping() { reset(); }

  Status map(int fd, int64_t offset, int64_t bytes);
  void reset();
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// One thread posts, one receives; `close` from any.
class HexagonChannel {
 public:
  /// Starts `command` with a control region and a doorbell, and sends nothing. Errors as
  /// ChildProcess::start.
  static Result<std::unique_ptr<HexagonChannel>> start(const std::vector<std::string>& command);

  /// Gives `message` of `size` bytes, which starts with a HexagonHeader, that header and sends it;
  /// returns its sequence number. Never blocks. The caller keeps at most kHexagonRequestSlots
  /// requests unanswered.
  Result<uint64_t> post(HexagonCommand command, void* message, uint32_t size);

  /// Blocks until the next reply, which it checks as a message but not for what it says.
  /// kDeviceFailed: the channel is closed, the program ended or what it sent is no message.
  Status receive(HexagonHelloReply& reply);

  /// Gives the operand region at least `bytes`, not less than it has. The program has to be told.
  Status grow(int64_t bytes);
  std::byte* operands() const { return operands_.data(); }
  int64_t operand_bytes() const { return operand_bytes_; }

  /// Kills the program and makes `receive` return.
  void close();
  pid_t pid() const { return process_.pid(); }

 private:
  HexagonChannel() = default;

  FileDescriptor memory_;
  FileDescriptor doorbell_;
  SharedMapping control_;
  SharedMapping operands_;
  int64_t operand_bytes_ = 0;
  uint64_t next_request_ = 1;
  uint64_t next_reply_ = 1;
  ChildProcess process_;  // last: ends before its memory goes
};

}  // namespace shadowattn
