// Ctrl-C: asks the command to stop at the next safe point.
#pragma once

namespace shadowattn::tool {

/// While it lives, the first SIGINT or SIGTERM only sets a flag; the second kills as usual.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

bool interrupted();

/// What a program that a signal ended returns to the shell: 130 after Ctrl-C.
int interrupted_status();

}  // namespace shadowattn::tool
