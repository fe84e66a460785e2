/* Messages between the device `hexagon` (host, C++) and the program on the DSP (C, freestanding).
 *
 * Both sides see one control region: kHexagonRequestSlots requests, then kHexagonReplySlots
 * replies, and one operand region. A message is written whole, then the doorbell is rung (one byte
 * whose value means nothing); the other side copies the message out before it looks at it. Requests
 * are answered in order: a launch once per head, in order, everything else once. An answer with a
 * status other than kHexagonOk is the last one of its request.
 *
 * Numbers are little-endian with fixed widths, offsets are bytes from the start of the operand
 * region, sizes are bytes unless the name says otherwise. Nothing here is a pointer, and no field
 * is implicit padding. docs/hexagon.md has the tables. */
#ifndef SHADOWATTN_HEXAGON_PROTOCOL_H_
#define SHADOWATTN_HEXAGON_PROTOCOL_H_

#ifdef __cplusplus
#include <cstddef>
#include <cstdint>
#else
#include <stddef.h>
#include <stdint.h>
#endif

enum {
  kHexagonMagic = 0x58484153, /* "SAHX" */
  kHexagonVersion = 1,

  kHexagonRequestSlots = 32,
  kHexagonRequestBytes = 1024,
  kHexagonReplyBytes = 128,
  kHexagonMaxHeads = 32,
  /* Every request in flight may be a launch of most heads: replies are never overwritten unread. */
  kHexagonReplySlots = kHexagonRequestSlots * kHexagonMaxHeads,
  kHexagonReplyOffset = kHexagonRequestSlots * kHexagonRequestBytes,
  /* Multiples of the largest page: 64 KiB. */
  kHexagonPageBytes = 65536,
  kHexagonControlBytes = 4 * kHexagonPageBytes,

  /* Operands start at multiples of this; kernels may read, not write, so much beyond their ends. */
  kHexagonVectorBytes = 128,
  /* Of the operand region: half of what a 32-bit address reaches is left for the program. */
  kHexagonMaxMemoryBytes = 1 << 30,
  kHexagonMaxGraphs = 1024,
  kHexagonMaxRows = 1024,
  kHexagonMaxKeys = 16384,
  kHexagonMaxDim = 256,
  kHexagonRowMultiple = 4,
  kHexagonKeyMultiple = 128,
  kHexagonDimMultiple = 16,

  /* File descriptors of the program where it is a Linux process. */
  kHexagonMemoryFd = 3,
  kHexagonDoorbellFd = 4
};

enum HexagonCommand {
  kHexagonHello = 1, /* first; no payload. Answer: HexagonHelloReply */
  kHexagonPing,      /* no payload */
  kHexagonMap,       /* HexagonMapRequest: the operand region is now so large */
  kHexagonCompile,   /* HexagonCompileRequest */
  kHexagonRelease,   /* HexagonReleaseRequest */
  kHexagonLaunch,    /* HexagonLaunchRequest */
  kHexagonQuit,      /* no payload; answered, then the program ends */
  /* For tests, and only honoured by a program started with the argument "faults": HexagonFault. */
  kHexagonFault
};

enum HexagonStatus {
  kHexagonOk = 0,
  kHexagonBadMagic,
  kHexagonBadVersion,
  kHexagonBadSize,
  kHexagonBadChecksum,
  kHexagonBadSequence,
  kHexagonBadCommand,
  kHexagonBadState, /* not greeted yet, or no operand region */
  kHexagonMapFailed,
  kHexagonBadGraph, /* shape, multiplier or id; or no such graph */
  kHexagonBadOperand,
  kHexagonGraphsFull
};

enum HexagonFaultKind { kHexagonCrash = 1, kHexagonHang = 2 };

typedef struct {
  uint32_t magic;
  uint16_t version;
  uint16_t command; /* in a reply: that of the request */
  uint32_t size;    /* of the whole message */
  uint32_t checksum;
  uint64_t sequence; /* 1, 2, 3 …: requests and replies each count for themselves */
} HexagonHeader;

/* What can be compiled. rows, keys and dim per head; see shadowattn::GraphSpec. */
typedef struct {
  int32_t heads;
  int32_t rows;
  int32_t keys;
  int32_t dim;
  int32_t mantissa;
  int32_t shift;
} HexagonGraph;

typedef struct {
  HexagonHeader header;
  uint32_t bytes; /* multiple of kHexagonPageBytes */
  uint32_t reserved;
} HexagonMapRequest;

typedef struct {
  HexagonHeader header;
  int32_t graph;
  HexagonGraph spec;
  int32_t reserved;
} HexagonCompileRequest;

typedef struct {
  HexagonHeader header;
  int32_t graph;
  int32_t reserved;
} HexagonReleaseRequest;

typedef struct {
  uint32_t query;
  uint32_t key;
  uint32_t scores;
} HexagonHead;

/* The size says how many heads follow: header.size = offsetof(heads) + heads · sizeof(HexagonHead);
 * it must be what the graph was compiled for. */
typedef struct {
  HexagonHeader header;
  int32_t graph;
  int32_t head_count;
  HexagonHead heads[kHexagonMaxHeads];
} HexagonLaunchRequest;

typedef struct {
  HexagonHeader header;
  uint32_t fault; /* HexagonFaultKind */
  uint32_t reserved;
} HexagonFaultRequest;

typedef struct {
  HexagonHeader header;
  uint64_t request; /* the sequence number of the request */
  int32_t status;   /* HexagonStatus */
  int32_t head;     /* of a launch; else 0 */
  int64_t start_ns; /* CLOCK_MONOTONIC, or 0 where the DSP's clock is another */
  int64_t end_ns;
} HexagonReply;

typedef struct {
  HexagonReply reply;
  uint32_t memory_bytes; /* largest operand region */
  int32_t graphs;        /* compiled at a time */
  HexagonGraph most;     /* largest; mantissa and shift unused */
  HexagonGraph multiple; /* of rows, keys, dim; the others unused */
} HexagonHelloReply;

/* FNV-1a of the message with its checksum taken as zero. */
static inline uint32_t hexagon_checksum(const void* message, uint32_t size) {
  const uint8_t* bytes = (const uint8_t*)message;
  const uint32_t first = (uint32_t)offsetof(HexagonHeader, checksum);
  const uint32_t last = first + (uint32_t)sizeof(uint32_t);
  uint32_t hash = 2166136261u;
  uint32_t i;
  for (i = 0; i < size; ++i) {
    hash = (hash ^ (i >= first && i < last ? 0u : (uint32_t)bytes[i])) * 16777619u;
  }
  return hash;
}

/* Of bytes at `message`, which hold `room`; returns kHexagonOk when the header, the size and the
 * checksum are what a message of this version with this sequence number has. */
static inline int32_t hexagon_check(const void* message, uint32_t room, uint64_t sequence) {
  const HexagonHeader* header = (const HexagonHeader*)message;
  if (header->magic != (uint32_t)kHexagonMagic) return kHexagonBadMagic;
  if (header->version != kHexagonVersion) return kHexagonBadVersion;
  if (header->size < sizeof(HexagonHeader) || header->size > room) return kHexagonBadSize;
  if (header->checksum != hexagon_checksum(message, header->size)) return kHexagonBadChecksum;
  if (header->sequence != sequence) return kHexagonBadSequence;
  return kHexagonOk;
}

/* Fills in the header of a message of `size` bytes. */
static inline void hexagon_seal(HexagonHeader* header, uint16_t command, uint32_t size,
                                uint64_t sequence) {
  header->magic = kHexagonMagic;
  header->version = kHexagonVersion;
  header->command = command;
  header->size = size;
  header->checksum = 0;
  header->sequence = sequence;
  header->checksum = hexagon_checksum(header, size);
}

/* Where in the control region a message lies, in bytes. */
static inline uint32_t hexagon_request_offset(uint64_t sequence) {
  return (uint32_t)((sequence - 1) % kHexagonRequestSlots) * kHexagonRequestBytes;
}
static inline uint32_t hexagon_reply_offset(uint64_t sequence) {
  return kHexagonReplyOffset + (uint32_t)((sequence - 1) % kHexagonReplySlots) * kHexagonReplyBytes;
}

#ifdef __cplusplus
static_assert(sizeof(HexagonHeader) == 24 && sizeof(HexagonReply) == 56);
static_assert(sizeof(HexagonLaunchRequest) <= kHexagonRequestBytes);
static_assert(sizeof(HexagonHelloReply) <= kHexagonReplyBytes &&
              sizeof(HexagonHelloReply) % 8 == 0);
static_assert(kHexagonReplyOffset + kHexagonReplySlots * kHexagonReplyBytes <=
              kHexagonControlBytes);
#else
_Static_assert(sizeof(HexagonHeader) == 24 && sizeof(HexagonReply) == 56, "layout");
_Static_assert(sizeof(HexagonLaunchRequest) <= kHexagonRequestBytes, "slot");
_Static_assert(sizeof(HexagonHelloReply) <= kHexagonReplyBytes, "slot");
_Static_assert(kHexagonReplyOffset + kHexagonReplySlots * kHexagonReplyBytes <=
                   kHexagonControlBytes,
               "region");
#endif

#endif /* SHADOWATTN_HEXAGON_PROTOCOL_H_ */
