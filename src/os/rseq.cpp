// SPDX-License-Identifier: MIT
#include "os/rseq.hpp"

#if defined(__x86_64__) && !defined(METE_THREAD_SANITIZER) && __has_include(<linux/rseq.h>)
#  include <linux/rseq.h>
#  define METE_HAS_SEQUENCES
#endif

// Where the C library says what it registered. Weak: it is null before glibc 2.35.
extern "C" {
[[gnu::weak]] extern const std::ptrdiff_t __rseq_offset;
[[gnu::weak]] extern const unsigned int __rseq_size;
}

namespace mete::os {

constinit std::ptrdiff_t rseq_offset = 0;

#if defined(METE_HAS_SEQUENCES)
static_assert(offsetof(struct rseq, cpu_id) == rseq_cpu);
static_assert(offsetof(struct rseq, rseq_cs) == rseq_sequence);

bool enable_sequences(end_of_restarts on_end) {
  if (&__rseq_size == nullptr || &__rseq_offset == nullptr || __rseq_size == 0)
    return false;
  rseq_offset = __rseq_offset;
  return initialise_restarts(on_end);
}
#else
bool enable_sequences(end_of_restarts) { // ThreadSanitizer sees no order that the kernel makes
  return false;
}
#endif

} // namespace mete::os
