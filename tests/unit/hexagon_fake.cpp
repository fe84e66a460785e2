// A native stand-in for the Hexagon program: the same service with a plain kernel, which on request
// breaks the protocol in one way. hexagon_fake [mode [command]]; the command (a number of
// HexagonCommand) is the one whose replies the mode is about, all without it.
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "hexagon/service.h"
#include "hexagon_reference.h"

namespace {

struct Fake {
  std::string mode;
  int command = 0;
  std::byte* control = nullptr;
  uint64_t replies = 0;
};

void* map_operands(void*, uint32_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, kHexagonMemoryFd,
                  kHexagonControlBytes);
  return at == MAP_FAILED ? nullptr : at;
}

int64_t now_ns(void*) { return std::chrono::steady_clock::now().time_since_epoch().count(); }

void kernel(const HexagonGraph* graph, const int8_t* query, const int8_t* key, int8_t* scores) {
  const shadowattn::GraphSpec spec{
      graph->heads, graph->rows, graph->keys, graph->dim, {graph->mantissa, graph->shift}};
  shadowattn::test::reference_scores(spec, query, key, scores);
}

[[noreturn]] void hang() {
  for (;;) pause();
}

// Changes a reply that is about to be announced.
void corrupt(const std::string& mode, HexagonHelloReply& hello) {
  HexagonReply& reply = hello.reply;
  HexagonHeader& header = reply.header;
  if (mode == "request") ++reply.request;
  if (mode == "command") header.command = kHexagonQuit;
  if (mode == "head") reply.head = 0;
  if (mode == "far-head") reply.head = 1 << 30;
  if (mode == "refuse") reply.status = kHexagonBadGraph;
  if (mode == "status") reply.status = 12345;
  if (mode == "no-memory") reply.status = kHexagonMapFailed;
  if (mode == "limits") hello.most.heads = 1 << 20;
  if (mode == "memory") hello.memory_bytes = 0xffffffff;
  if (mode == "clock") reply.start_ns = reply.end_ns = INT64_MIN;
  if (mode == "late-clock") reply.end_ns = INT64_MAX;
  const uint32_t size =
      mode == "short" ? static_cast<uint32_t>(sizeof(HexagonHeader)) : header.size;
  hexagon_seal(&header, header.command, size, header.sequence + (mode == "sequence" ? 1 : 0));
  if (mode == "magic") ++header.magic;
  if (mode == "version") ++header.version;
  if (mode == "size") header.size = 0xfffffff0;
  if (mode == "checksum") ++header.checksum;
}

int ring(void* context) {
  Fake& fake = *static_cast<Fake*>(context);
  HexagonHelloReply reply;
  std::byte* slot = fake.control + hexagon_reply_offset(++fake.replies);
  std::memcpy(&reply, slot, sizeof(reply));
  const bool meant = fake.command == 0 || reply.reply.header.command == fake.command;
  if (meant && fake.mode == "silent") return 1;
  if (meant && fake.mode == "die") _exit(3);
  if (meant && fake.mode == "die-after-head" && reply.reply.head == 1) _exit(3);
  if (meant && fake.mode == "hang-after-head" && reply.reply.head == 1) hang();
  if (meant && fake.mode == "garbage") {
    std::memset(slot, 0xa5, sizeof(reply));
  } else if (meant && !fake.mode.empty()) {
    corrupt(fake.mode, reply);
    std::memcpy(slot, &reply, sizeof(reply));
  }
  const uint8_t bells[2] = {1, 1};
  const ssize_t count = meant && fake.mode == "two-bells" ? 2 : 1;
  return write(kHexagonDoorbellFd, bells, static_cast<std::size_t>(count)) == count;
}

}  // namespace

int main(int count, char** arguments) {
  Fake fake;
  if (count > 1) fake.mode = arguments[1];
  if (count > 2) fake.command = std::atoi(arguments[2]);
  if (fake.mode == "exit") return 0;
  void* control =
      mmap(nullptr, kHexagonControlBytes, PROT_READ | PROT_WRITE, MAP_SHARED, kHexagonMemoryFd, 0);
  if (control == MAP_FAILED) return 1;
  fake.control = static_cast<std::byte*>(control);
  const HexagonPlatform platform{&fake, map_operands, now_ns, ring, kernel, 0};
  static HexagonService service;
  hexagon_service_start(&service, &platform, control);
  for (;;) {
    uint8_t bell = 0;
    if (read(kHexagonDoorbellFd, &bell, 1) != 1) return 0;
    if (hexagon_service_handle(&service) == kHexagonStop) return 0;
  }
}
