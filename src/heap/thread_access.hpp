// How the fast paths reach the calling thread's state: through the thread pointer, one instruction
// per access.
//
// Compilers address TLS by first materialising its address, two instructions and a load that the
// fast paths need not make: x86-64 can add the thread pointer in the memory operand itself. That
// cannot be said in C++ (GCC has named address spaces in C only), so it is said in assembly here,
// in four primitives. Elsewhere, and where a sanitizer wants to see the accesses, plain C++ does
// it.
//
// All accesses are volatile and clobber memory: the slow paths change the same state from C++, and
// may be inlined into the same function.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "heap/thread_cache.hpp"

#include <cstddef>
#include <cstdint>

namespace mete::heap {

#if defined(__x86_64__) && !defined(METE_SANITIZER)

class thread_access {
public:
  thread_access() { asm("movq mete_this_thread@gottpoff(%%rip), %0" : "=r"(offset_)); }

  void** top(std::size_t bin) const {
    void** value;
    asm volatile("movq %%fs:%c3(%1,%2), %0"
                 : "=r"(value)
                 : "r"(offset_), "r"(bin), "i"(offsetof(cache_bin, top))
                 : "memory");
    return value;
  }

  void set_top(std::size_t bin, void** value) const {
    asm volatile("movq %2, %%fs:%c3(%0,%1)"
                 :
                 : "r"(offset_), "r"(bin), "r"(value), "i"(offsetof(cache_bin, top))
                 : "memory");
  }

  // By the class's reciprocal, as begins_block().
  bool begins_block(std::size_t bin, const void* block) const {
    std::uint32_t offset = static_cast<std::uint16_t>(reinterpret_cast<std::uintptr_t>(block));
    bool begins;
    asm volatile("imull %%fs:%c4(%2,%3), %0\n\t"
                 "cmpl %%fs:%c4(%2,%3), %0"
                 : "+&r"(offset), "=@ccb"(begins)
                 : "r"(offset_), "r"(bin), "i"(offsetof(cache_bin, reciprocal))
                 : "memory");
    return begins;
  }

  // The upper half is zero: what writes 32 bits of a register clears the rest.
  std::size_t differing_bits(std::uint32_t tag) const {
    std::size_t wide = tag;
    asm volatile("xorl %%fs:%c2(%1), %k0"
                 : "+r"(wide)
                 : "r"(offset_), "i"(offsetof(thread_state, tag))
                 : "cc", "memory");
    return wide;
  }

private:
  std::uintptr_t offset_; // of the state, from the thread pointer
};

#else

class thread_access {
public:
  void** top(std::size_t bin) const { return at<const cache_bin>(bin)->top; }
  void set_top(std::size_t bin, void** value) const { at<cache_bin>(bin)->top = value; }
  bool begins_block(std::size_t bin, const void* block) const {
    const auto in_unit = static_cast<std::uint16_t>(reinterpret_cast<std::uintptr_t>(block));
    return mete::heap::begins_block(*at<const std::uint32_t>(bin + offsetof(cache_bin, reciprocal)),
                                    in_unit);
  }
  std::size_t differing_bits(std::uint32_t tag) const { return tag ^ this_thread.tag; }

private:
  template <class T>
  static T* at(std::size_t offset) {
    return reinterpret_cast<T*>(reinterpret_cast<char*>(this_thread.bins) + offset);
  }
};

#endif

} // namespace mete::heap
