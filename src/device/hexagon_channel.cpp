#include "device/hexagon_channel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

namespace shadowattn {
namespace {

Status system_error(StatusCode code, const char* what) {
  return {code, std::string("hexagon: ") + what + ": " + std::strerror(errno)};
}

// Messages are copied word by word: the other side may write at the same time, and then the
// checksum tells. What was written before, operands too, is there for who sees the words.
uint64_t* words_at(std::byte* control, uint32_t offset) {
  return reinterpret_cast<uint64_t*>(control + offset);
}

void publish(uint64_t& to, uint64_t word) {
  std::atomic_ref<uint64_t>(to).store(word, std::memory_order_release);
}

uint64_t fetch(uint64_t& from) {
  return std::atomic_ref<uint64_t>(from).load(std::memory_order_acquire);
}

}  // namespace

Status SharedMapping::map(int fd, int64_t offset, int64_t bytes) {
  reset();
  void* at = mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                  offset);
  if (at == MAP_FAILED) return system_error(StatusCode::kOutOfMemory, "mmap");
  data_ = static_cast<std::byte*>(at);
  bytes_ = static_cast<std::size_t>(bytes);
  return {};
}

void SharedMapping::reset() {
  if (data_) munmap(data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

Result<std::unique_ptr<HexagonChannel>> HexagonChannel::start(
    const std::vector<std::string>& command) {
  std::unique_ptr<HexagonChannel> channel(new HexagonChannel);
  channel->memory_.reset(memfd_create("shadowattn-hexagon", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!channel->memory_.valid()) return system_error(StatusCode::kOutOfMemory, "memfd_create");
  // Nobody can take away memory that is mapped here.
  if (ftruncate(channel->memory_.get(), kHexagonControlBytes) != 0 ||
      fcntl(channel->memory_.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0) {
    return system_error(StatusCode::kOutOfMemory, "shared memory");
  }
  Status status = channel->control_.map(channel->memory_.get(), 0, kHexagonControlBytes);
  if (!status.ok()) return status;

  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return system_error(StatusCode::kDeviceFailed, "socketpair");
  }
  channel->doorbell_.reset(ends[0]);
  const FileDescriptor theirs(ends[1]);
  const std::array<ChildProcess::InheritedFile, 2> files{
      {{channel->memory_.get(), kHexagonMemoryFd}, {theirs.get(), kHexagonDoorbellFd}}};
  status = channel->process_.start(command, files);
  if (!status.ok()) return status;
  return channel;
}

Result<uint64_t> HexagonChannel::post(HexagonCommand command, void* message, uint32_t size) {
  const uint64_t sequence = next_request_++;
  hexagon_seal(static_cast<HexagonHeader*>(message), static_cast<uint16_t>(command), size,
               sequence);
  std::array<uint64_t, kHexagonRequestBytes / 8> words{};
  std::memcpy(words.data(), message, size);
  uint64_t* slot = words_at(control_.data(), hexagon_request_offset(sequence));
  for (const uint64_t word : words) publish(*slot++, word);
  const uint8_t bell = 1;
  // A closed channel must be an error here, not a SIGPIPE.
  if (send(doorbell_.get(), &bell, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
    return Status(StatusCode::kDeviceFailed, "hexagon: the program does not listen any more");
  }
  return sequence;
}

Status HexagonChannel::receive(HexagonHelloReply& reply) {
  uint8_t bell = 0;
  ssize_t count = 0;
  do {
    count = recv(doorbell_.get(), &bell, 1, 0);
  } while (count < 0 && errno == EINTR);
  if (count != 1) return {StatusCode::kDeviceFailed, "hexagon: the program ended"};
  const uint64_t sequence = next_reply_++;
  uint64_t* slot = words_at(control_.data(), hexagon_reply_offset(sequence));
  std::array<uint64_t, sizeof(HexagonHelloReply) / 8> words{};
  for (uint64_t& word : words) word = fetch(*slot++);
  std::memcpy(&reply, words.data(), sizeof(reply));
  const int32_t status = hexagon_check(&reply, sizeof(reply), sequence);
  if (status != kHexagonOk) {
    const char* what = status == kHexagonBadVersion
                           ? "hexagon: the program speaks another version of the protocol"
                           : "hexagon: the program sent what is no message";
    return {StatusCode::kDeviceFailed, what};
  }
  if (reply.reply.header.size < sizeof(HexagonReply)) {
    return {StatusCode::kDeviceFailed, "hexagon: the program sent a message that is too short"};
  }
  return {};
}

Status HexagonChannel::grow(int64_t bytes) {
  if (bytes <= operand_bytes_) return {};
  operand_bytes_ = 0;
  operands_.reset();
  // Reserves the pages: memory that runs out later would be a SIGBUS.
  int error = 0;
  do {
    error = posix_fallocate(memory_.get(), kHexagonControlBytes, bytes);
  } while (error == EINTR);
  if (error != 0) {
    return {StatusCode::kOutOfMemory,
            std::string("hexagon: operand memory: ") + std::strerror(error)};
  }
  Status status = operands_.map(memory_.get(), kHexagonControlBytes, bytes);
  if (status.ok()) operand_bytes_ = bytes;
  return status;
}

void HexagonChannel::close() {
  process_.kill();
  shutdown(doorbell_.get(), SHUT_RDWR);
}

}  // namespace shadowattn
