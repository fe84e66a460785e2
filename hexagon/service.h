/* What the program on the DSP does with messages: checks them, keeps the graphs, runs launches.
 * Free of system calls, so that it also runs in tests on the host and behind a FastRPC invoke.
 * One thread. */
#ifndef SHADOWATTN_HEXAGON_SERVICE_H_
#define SHADOWATTN_HEXAGON_SERVICE_H_

#include <stdint.h>

#include "protocol.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*HexagonKernel)(const HexagonGraph* graph, const int8_t* query, const int8_t* key,
                              int8_t* scores);

/* What the service needs of its surroundings; `context` is passed to each. */
typedef struct {
  void* context;
  /* The operand region with at least `bytes`, aligned to kHexagonVectorBytes; null: cannot. What
   * was returned before is no longer used. */
  void* (*map)(void* context, uint32_t bytes);
  /* Nanoseconds of the clock that replies carry. */
  int64_t (*now_ns)(void* context);
  /* The doorbell. Returns 0 when nobody hears it any more. */
  int (*ring)(void* context);
  HexagonKernel kernel;
  int honour_faults;
} HexagonPlatform;

typedef struct {
  int32_t used;
  int32_t id;
  HexagonGraph spec;
} HexagonGraphSlot;

typedef struct {
  const HexagonPlatform* platform;
  uint8_t* control; /* kHexagonControlBytes, aligned to 8 */
  uint8_t* operands;
  uint32_t operand_bytes;
  uint64_t next_request;
  uint64_t next_reply;
  int32_t greeted;
  HexagonGraphSlot graphs[kHexagonMaxGraphs];
} HexagonService;

enum HexagonOutcome { kHexagonContinue, kHexagonStop };

void hexagon_service_start(HexagonService* service, const HexagonPlatform* platform, void* control);

/* Handles the next request; to be called once per ring of the doorbell. Whatever lies in the
 * control region, it answers, and reads and writes nothing but both regions. */
enum HexagonOutcome hexagon_service_handle(HexagonService* service);

#ifdef __cplusplus
}
#endif

#endif /* SHADOWATTN_HEXAGON_SERVICE_H_ */
