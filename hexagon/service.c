#include "service.h"

/* The host may change a message while it is being checked: all work is done on a copy. */
typedef union {
  HexagonHeader header;
  HexagonMapRequest map;
  HexagonCompileRequest compile;
  HexagonReleaseRequest release;
  HexagonLaunchRequest launch;
  HexagonFaultRequest fault;
  uint64_t words[kHexagonRequestBytes / 8];
} Request;

typedef union {
  HexagonReply reply;
  HexagonHelloReply hello;
  uint64_t words[kHexagonReplyBytes / 8];
} Reply;

/* What messages are copied by; may be a part of any of their types. */
typedef uint64_t __attribute__((may_alias)) SharedWord;

/* What was written before, operands too, is there for who sees the words. */
static void publish_words(SharedWord* to, const uint64_t* from, uint32_t bytes) {
  uint32_t i;
  for (i = 0; i < (bytes + 7) / 8; ++i) __atomic_store_n(&to[i], from[i], __ATOMIC_RELEASE);
}

static void fetch_words(SharedWord* to, const SharedWord* from, uint32_t bytes) {
  uint32_t i;
  for (i = 0; i < (bytes + 7) / 8; ++i) to[i] = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);
}

/* Completes, publishes and rings. Returns 0 when nobody hears it. */
static int send_reply(HexagonService* service, const HexagonHeader* request, uint32_t size,
                      Reply* reply) {
  const uint64_t sequence = service->next_reply++;
  reply->reply.request = service->next_request - 1;
  hexagon_seal(&reply->reply.header, request->command, size, sequence);
  publish_words((SharedWord*)(void*)(service->control + hexagon_reply_offset(sequence)),
                reply->words, size);
  return service->platform->ring(service->platform->context);
}

static Reply make_reply(int32_t status) {
  uint32_t i;
  Reply reply;
  for (i = 0; i < kHexagonReplyBytes / 8; ++i) reply.words[i] = 0;
  reply.reply.status = status;
  return reply;
}

static int answer(HexagonService* service, const HexagonHeader* request, int32_t status) {
  Reply reply = make_reply(status);
  return send_reply(service, request, (uint32_t)sizeof(HexagonReply), &reply);
}

static int hello(HexagonService* service, const HexagonHeader* request) {
  const HexagonGraph most = {
      kHexagonMaxHeads, kHexagonMaxRows, kHexagonMaxKeys, kHexagonMaxDim, 0, 0};
  const HexagonGraph multiple = {
      1, kHexagonRowMultiple, kHexagonKeyMultiple, kHexagonDimMultiple, 0, 0};
  Reply reply = make_reply(kHexagonOk);
  reply.hello.memory_bytes = kHexagonMaxMemoryBytes;
  reply.hello.graphs = kHexagonMaxGraphs;
  reply.hello.most = most;
  reply.hello.multiple = multiple;
  service->greeted = 1;
  return send_reply(service, request, (uint32_t)sizeof(HexagonHelloReply), &reply);
}

static HexagonGraphSlot* find_graph(HexagonService* service, int32_t id) {
  int32_t i;
  for (i = 0; i < kHexagonMaxGraphs; ++i) {
    if (service->graphs[i].used && service->graphs[i].id == id) return &service->graphs[i];
  }
  return 0;
}

static int in_steps(int32_t value, int32_t most, int32_t multiple) {
  return value > 0 && value <= most && value % multiple == 0;
}

static int valid_graph(const HexagonGraph* graph) {
  const int32_t most_mantissa = graph->shift == 0 ? 32767 : 255;
  return in_steps(graph->heads, kHexagonMaxHeads, 1) &&
         in_steps(graph->rows, kHexagonMaxRows, kHexagonRowMultiple) &&
         in_steps(graph->keys, kHexagonMaxKeys, kHexagonKeyMultiple) &&
         in_steps(graph->dim, kHexagonMaxDim, kHexagonDimMultiple) && graph->shift >= 0 &&
         graph->shift <= 15 && graph->mantissa >= 128 && graph->mantissa <= most_mantissa;
}

static int32_t map(HexagonService* service, const HexagonMapRequest* request) {
  void* operands;
  if (request->header.size != sizeof(*request)) return kHexagonBadSize;
  if (request->bytes == 0 || request->bytes > (uint32_t)kHexagonMaxMemoryBytes ||
      request->bytes % kHexagonPageBytes != 0) {
    return kHexagonBadOperand;
  }
  service->operands = 0;
  service->operand_bytes = 0;
  operands = service->platform->map(service->platform->context, request->bytes);
  if (!operands) return kHexagonMapFailed;
  service->operands = (uint8_t*)operands;
  service->operand_bytes = request->bytes;
  return kHexagonOk;
}

static int32_t compile(HexagonService* service, const HexagonCompileRequest* request) {
  int32_t i;
  if (request->header.size != sizeof(*request)) return kHexagonBadSize;
  if (!valid_graph(&request->spec) || find_graph(service, request->graph)) return kHexagonBadGraph;
  for (i = 0; i < kHexagonMaxGraphs; ++i) {
    if (service->graphs[i].used) continue;
    service->graphs[i].used = 1;
    service->graphs[i].id = request->graph;
    service->graphs[i].spec = request->spec;
    return kHexagonOk;
  }
  return kHexagonGraphsFull;
}

static int32_t release(HexagonService* service, const HexagonReleaseRequest* request) {
  HexagonGraphSlot* slot;
  if (request->header.size != sizeof(*request)) return kHexagonBadSize;
  slot = find_graph(service, request->graph);
  if (!slot) return kHexagonBadGraph;
  slot->used = 0;
  return kHexagonOk;
}

/* `slack`: what the kernel may read beyond the operand's end. */
static int inside(const HexagonService* service, uint32_t offset, int64_t bytes, int64_t slack) {
  return offset % kHexagonVectorBytes == 0 &&
         (int64_t)offset + bytes + slack <= (int64_t)service->operand_bytes;
}

static int32_t check_launch(const HexagonService* service, const HexagonLaunchRequest* request,
                            const HexagonGraph* graph) {
  int32_t h;
  const int64_t query = (int64_t)graph->rows * graph->dim;
  const int64_t key = (int64_t)graph->keys * graph->dim;
  const int64_t scores = (int64_t)graph->rows * graph->keys;
  if (request->head_count != graph->heads) return kHexagonBadGraph;
  if (request->header.size != offsetof(HexagonLaunchRequest, heads) +
                                  (uint32_t)graph->heads * (uint32_t)sizeof(HexagonHead)) {
    return kHexagonBadSize;
  }
  for (h = 0; h < graph->heads; ++h) {
    if (!inside(service, request->heads[h].query, query, 0) ||
        !inside(service, request->heads[h].key, key, kHexagonVectorBytes) ||
        !inside(service, request->heads[h].scores, scores, 0)) {
      return kHexagonBadOperand;
    }
  }
  return kHexagonOk;
}

/* Answers head by head. Returns 0 when nobody hears it. */
static int launch(HexagonService* service, const HexagonLaunchRequest* request) {
  const HexagonPlatform* platform = service->platform;
  const HexagonGraphSlot* slot;
  int32_t status, h;
  if (request->header.size < offsetof(HexagonLaunchRequest, heads)) {
    return answer(service, &request->header, kHexagonBadSize);
  }
  slot = find_graph(service, request->graph);
  if (!slot) return answer(service, &request->header, kHexagonBadGraph);
  status = check_launch(service, request, &slot->spec);
  if (status != kHexagonOk) return answer(service, &request->header, status);
  for (h = 0; h < slot->spec.heads; ++h) {
    const HexagonHead* head = &request->heads[h];
    Reply reply = make_reply(kHexagonOk);
    reply.reply.head = h;
    reply.reply.start_ns = platform->now_ns(platform->context);
    platform->kernel(&slot->spec, (const int8_t*)service->operands + head->query,
                     (const int8_t*)service->operands + head->key,
                     (int8_t*)service->operands + head->scores);
    reply.reply.end_ns = platform->now_ns(platform->context);
    if (!send_reply(service, &request->header, (uint32_t)sizeof(HexagonReply), &reply)) return 0;
  }
  return 1;
}

static int32_t fault(const HexagonService* service, const HexagonFaultRequest* request) {
  if (!service->platform->honour_faults) return kHexagonBadCommand;
  if (request->header.size != sizeof(*request)) return kHexagonBadSize;
  if (request->fault == kHexagonCrash) __builtin_trap();
  if (request->fault == kHexagonHang) {
    volatile int forever = 1;
    while (forever) {
    }
  }
  return kHexagonBadCommand;
}

static int dispatch(HexagonService* service, const Request* request) {
  const HexagonHeader* header = &request->header;
  if (header->command == kHexagonHello) return hello(service, header);
  if (!service->greeted) return answer(service, header, kHexagonBadState);
  switch (header->command) {
    case kHexagonPing:
    case kHexagonQuit:
      return answer(service, header, kHexagonOk);
    case kHexagonMap:
      return answer(service, header, map(service, &request->map));
    case kHexagonCompile:
      return answer(service, header, compile(service, &request->compile));
    case kHexagonRelease:
      return answer(service, header, release(service, &request->release));
    case kHexagonLaunch:
      if (!service->operands) return answer(service, header, kHexagonBadState);
      return launch(service, &request->launch);
    case kHexagonFault:
      return answer(service, header, fault(service, &request->fault));
    default:
      return answer(service, header, kHexagonBadCommand);
  }
}

void hexagon_service_start(HexagonService* service, const HexagonPlatform* platform,
                           void* control) {
  int32_t i;
  service->platform = platform;
  service->control = (uint8_t*)control;
  service->operands = 0;
  service->operand_bytes = 0;
  service->next_request = 1;
  service->next_reply = 1;
  service->greeted = 0;
  for (i = 0; i < kHexagonMaxGraphs; ++i) service->graphs[i].used = 0;
}

enum HexagonOutcome hexagon_service_handle(HexagonService* service) {
  Request request;
  const uint64_t sequence = service->next_request++;
  int32_t status;
  int heard;
  fetch_words(request.words,
              (const SharedWord*)(void*)(service->control + hexagon_request_offset(sequence)),
              kHexagonRequestBytes);
  status = hexagon_check(&request, kHexagonRequestBytes, sequence);
  heard =
      status == kHexagonOk ? dispatch(service, &request) : answer(service, &request.header, status);
  if (!heard) return kHexagonStop;
  return status == kHexagonOk && request.header.command == kHexagonQuit ? kHexagonStop
                                                                        : kHexagonContinue;
}
