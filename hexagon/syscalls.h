/* The few Linux system calls of the program, for Hexagon: trap0(#1), number in r6, arguments from
 * r0. Results in [-4095, -1] are errors. There is no C library. */
#ifndef SHADOWATTN_HEXAGON_SYSCALLS_H_
#define SHADOWATTN_HEXAGON_SYSCALLS_H_

#include <stddef.h>
#include <stdint.h>

enum {
  kSysRead = 63,
  kSysWrite = 64,
  kSysExit = 94, /* exit_group */
  kSysClockGetTime = 113,
  kSysMunmap = 215,
  kSysMmap2 = 222
};

static inline int32_t system_call(int32_t number, int32_t a, int32_t b, int32_t c, int32_t d,
                                  int32_t e, int32_t f) {
  register int32_t r0 __asm__("r0") = a;
  register int32_t r1 __asm__("r1") = b;
  register int32_t r2 __asm__("r2") = c;
  register int32_t r3 __asm__("r3") = d;
  register int32_t r4 __asm__("r4") = e;
  register int32_t r5 __asm__("r5") = f;
  register int32_t r6 __asm__("r6") = number;
  __asm__ volatile("trap0(#1)"
                   : "+r"(r0)
                   : "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5), "r"(r6)
                   : "memory");
  return r0;
}

static inline int32_t sys_read(int fd, void* to, uint32_t bytes) {
  return system_call(kSysRead, fd, (int32_t)to, (int32_t)bytes, 0, 0, 0);
}

static inline int32_t sys_write(int fd, const void* from, uint32_t bytes) {
  return system_call(kSysWrite, fd, (int32_t)from, (int32_t)bytes, 0, 0, 0);
}

static inline void sys_exit(int status) {
  for (;;) system_call(kSysExit, status, 0, 0, 0, 0, 0);
}

/* Shared memory of `fd`; `offset` a multiple of 4096. Null: cannot. */
static inline void* sys_map(int fd, uint32_t offset, uint32_t bytes) {
  const int32_t readable_writable = 3;
  const int32_t shared = 1;
  const uint32_t at = (uint32_t)system_call(kSysMmap2, 0, (int32_t)bytes, readable_writable, shared,
                                            fd, (int32_t)(offset / 4096));
  return at >= 0xfffff001u ? 0 : (void*)at;
}

static inline void sys_unmap(void* at, uint32_t bytes) {
  system_call(kSysMunmap, (int32_t)at, (int32_t)bytes, 0, 0, 0, 0);
}

/* CLOCK_MONOTONIC. */
static inline int64_t sys_now_ns(void) {
  int32_t time[2] = {0, 0};
  system_call(kSysClockGetTime, 1, (int32_t)time, 0, 0, 0, 0);
  return (int64_t)(uint32_t)time[0] * 1000000000 + time[1];
}

#endif /* SHADOWATTN_HEXAGON_SYSCALLS_H_ */
