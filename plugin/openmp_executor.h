// Runs tiles on OpenMP's threads.
//
// llama.cpp's CPU backend uses OpenMP by default, and its threads spin for a while after each
// parallel region. Using the same runtime shares those threads; a pool of our own would compete
// with them.
#pragma once

#include <memory>

#include "shadowattn/executor.h"

namespace shadowattn::plugin {

/// An executor for `threads` threads: OpenMP's when this build has OpenMP, else a thread pool.
/// Null when the threads could not be started.
std::unique_ptr<Executor> make_host_executor(int threads);

}  // namespace shadowattn::plugin
