// The functions of <mete/mete.h>, found at run time: the tests are linked with the system's C
// library only, and mete comes in by LD_PRELOAD.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "check.hpp"

struct native {
  decltype(mete_malloc_usable_size)* usable_size;
  decltype(mete_collect)* collect;
  decltype(mete_heap_create)* heap_create;
  decltype(mete_heap_destroy)* heap_destroy;
  decltype(mete_heap_malloc)* heap_malloc;
  decltype(mete_heap_calloc)* heap_calloc;
  decltype(mete_heap_aligned_alloc)* heap_aligned_alloc;
  decltype(mete_heap_realloc)* heap_realloc;
  decltype(mete_heap_free)* heap_free;
  decltype(mete_option_get)* option_get;
  decltype(mete_option_set)* option_set;
};

template <class Function>
void find_into(Function*& function, const char* name, void* where) {
  void* address = dlsym(where, name);
  if (address == nullptr && check_any_allocator()) {
    check_skip("this allocator does not have mete's native interface");
  }
  if (address == nullptr) {
    check_failed(__FILE__, __LINE__, "mete defines ", name);
  }
  std::memcpy(&function, &address, sizeof address);
}

inline native find_native(void* where = RTLD_DEFAULT) {
  native found{};
  find_into(found.usable_size, "mete_malloc_usable_size", where);
  find_into(found.collect, "mete_collect", where);
  find_into(found.heap_create, "mete_heap_create", where);
  find_into(found.heap_destroy, "mete_heap_destroy", where);
  find_into(found.heap_malloc, "mete_heap_malloc", where);
  find_into(found.heap_calloc, "mete_heap_calloc", where);
  find_into(found.heap_aligned_alloc, "mete_heap_aligned_alloc", where);
  find_into(found.heap_realloc, "mete_heap_realloc", where);
  find_into(found.heap_free, "mete_heap_free", where);
  find_into(found.option_get, "mete_option_get", where);
  find_into(found.option_set, "mete_option_set", where);
  return found;
}
