/* The program as a Linux process: waits for the doorbell, serves, until the host hangs up.
 * Exit status: 0 after a quit or a hang-up, 1 when it could not start. */
#include "pilot.h"
#include "service.h"
#include "syscalls.h"

typedef struct {
  void* operands;
  uint32_t bytes;
} Mapping;

static void* map_operands(void* context, uint32_t bytes) {
  Mapping* mapping = (Mapping*)context;
  if (mapping->operands) sys_unmap(mapping->operands, mapping->bytes);
  mapping->operands = sys_map(kHexagonMemoryFd, kHexagonControlBytes, bytes);
  mapping->bytes = bytes;
  return mapping->operands;
}

static int64_t now_ns(void* context) {
  (void)context;
  return sys_now_ns();
}

static int ring(void* context) {
  const uint8_t bell = 1;
  (void)context;
  return sys_write(kHexagonDoorbellFd, &bell, 1) == 1;
}

static int is_faults(const char* argument) {
  const char* expected = "faults";
  while (*expected && *argument == *expected) {
    ++argument;
    ++expected;
  }
  return *argument == *expected;
}

/* Too large for the stack. */
static HexagonService service;

static int serve(int honour_faults) {
  static Mapping mapping;
  const HexagonPlatform platform = {&mapping, map_operands, now_ns,
                                    ring,     pilot_scores, honour_faults};
  const int32_t interrupted = -4;
  void* control = sys_map(kHexagonMemoryFd, 0, kHexagonControlBytes);
  if (!control) return 1;
  hexagon_service_start(&service, &platform, control);
  for (;;) {
    uint8_t bell;
    const int32_t count = sys_read(kHexagonDoorbellFd, &bell, 1);
    if (count == interrupted) continue;
    if (count != 1) return 0;
    if (hexagon_service_handle(&service) == kHexagonStop) return 0;
  }
}

/* `stack`: argc, argv[0], argv[1], … as Linux leaves them. */
__attribute__((used)) void start_c(const int32_t* stack) {
  const int32_t count = stack[0];
  const char* const* arguments = (const char* const*)(const void*)(stack + 1);
  sys_exit(serve(count > 1 && is_faults(arguments[1])));
}

__asm__(
    ".globl _start\n"
    "_start:\n"
    "  { r0 = r29\n"
    "    r29 = and(r29, #-128) }\n"
    "  { jump start_c }\n");
