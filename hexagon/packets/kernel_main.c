/* Runs the kernel on one head and nothing else, for counting packets: rows keys dim times. */
#include "../pilot.h"
#include "../syscalls.h"

static _Alignas(kHexagonVectorBytes) int8_t query[kHexagonMaxRows * kHexagonMaxDim];
static _Alignas(
    kHexagonVectorBytes) int8_t key[kHexagonMaxKeys * kHexagonMaxDim + kHexagonVectorBytes];
static _Alignas(kHexagonVectorBytes) int8_t scores[kHexagonMaxRows * kHexagonMaxKeys];

static int32_t number(const char* text) {
  int32_t value = 0;
  for (; *text >= '0' && *text <= '9'; ++text) value = value * 10 + (*text - '0');
  return value;
}

static int32_t run(int32_t count, const char* const* arguments) {
  HexagonGraph graph = {1, 0, 0, 0, 200, 6};
  int32_t times;
  if (count != 5) return 2;
  graph.rows = number(arguments[1]);
  graph.keys = number(arguments[2]);
  graph.dim = number(arguments[3]);
  if (graph.rows > kHexagonMaxRows || graph.keys > kHexagonMaxKeys || graph.dim > kHexagonMaxDim ||
      graph.rows % kHexagonRowMultiple != 0 || graph.keys % kHexagonKeyMultiple != 0 ||
      graph.dim % kHexagonDimMultiple != 0) {
    return 2;
  }
  for (times = number(arguments[4]); times > 0; --times) pilot_scores(&graph, query, key, scores);
  return 0;
}

__attribute__((used)) void start_c(const int32_t* stack) {
  sys_exit(run(stack[0], (const char* const*)(const void*)(stack + 1)));
}

__asm__(
    ".globl _start\n"
    "_start:\n"
    "  { r0 = r29\n"
    "    r29 = and(r29, #-128) }\n"
    "  { jump start_c }\n");
