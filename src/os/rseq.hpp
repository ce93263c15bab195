// Restartable sequences: a few instructions that a thread runs on one processor as if nobody could
// come in between. If somebody does (the thread is preempted, moved or gets a signal), the kernel
// sends it back to the start. So what belongs to a processor is changed without an atomic
// operation, by as many threads as there are.
//
// The area that a thread shares with the kernel is the C library's (glibc 2.35 and newer register
// one for each thread); where it registers none, there are no sequences.
//
// Source: P. Turner, A. Hunter, "Restartable Sequences" (Linux Plumbers 2013); rseq(2), in Linux
// since 4.18.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "os/barrier.hpp"

#include <cstddef>

namespace mete::os {

// From the thread pointer to the area, in every thread.
extern std::ptrdiff_t rseq_offset;

// Of the area, which is struct rseq of <linux/rseq.h>: the processor that the thread runs on, and
// the sequence that it is in.
inline constexpr int rseq_cpu = 4;
inline constexpr int rseq_sequence = 8;

// Makes heavy_barrier() restart sequences, too; idempotent. False if this process has no sequences,
// for good. Cheap before there are threads. Preserves errno. For `on_end` see os/barrier.hpp.
bool enable_sequences(end_of_restarts on_end);

} // namespace mete::os
