// A program may replace any form of operator new and delete, and every form that it leaves alone
// calls others as the C++ standard says ([new.delete.single], [new.delete.array]: "Default
// behavior"). The test knows these ways as data, calls each form, and checks that the replaced form
// which the way leads to was called, once, and no other. replaced_forms.cpp is built with different
// sets of replaced forms.
//
// SPDX-License-Identifier: MIT
#include "replaced_new.hpp"

#include "process.hpp"

#include <malloc.h>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#if !defined(__cpp_sized_deallocation) // then <new> does not declare them
void operator delete(void* block, std::size_t size) noexcept;
void operator delete[](void* block, std::size_t size) noexcept;
void operator delete(void* block, std::size_t size, std::align_val_t alignment) noexcept;
void operator delete[](void* block, std::size_t size, std::align_val_t alignment) noexcept;
#endif

namespace {

constexpr std::size_t index_of(form which) {
  return static_cast<std::size_t>(which);
}

// Whom a form calls by default; `count` for the basic ones, which allocate or free.
constexpr form default_call(form which) {
  switch (which) {
  case form::new_array:
  case form::new_nothrow:
    return form::new_plain;
  case form::new_array_nothrow:
    return form::new_array;
  case form::new_array_aligned:
  case form::new_aligned_nothrow:
    return form::new_aligned;
  case form::new_array_aligned_nothrow:
    return form::new_array_aligned;
  case form::delete_array:
  case form::delete_sized:
  case form::delete_nothrow:
    return form::delete_plain;
  case form::delete_array_sized:
  case form::delete_array_nothrow:
    return form::delete_array;
  case form::delete_array_aligned:
  case form::delete_aligned_sized:
  case form::delete_aligned_nothrow:
    return form::delete_aligned;
  case form::delete_array_aligned_sized:
  case form::delete_array_aligned_nothrow:
    return form::delete_array_aligned;
  default:
    return form::count;
  }
}

// The replaced form that a call of `which` ends in; `count` if it ends in the allocator.
form end_of(form which) {
  while (which != form::count && !the_replacements.replaced[index_of(which)])
    which = default_call(which);
  return which;
}

int all_calls() {
  int sum = 0;
  for (int calls : calls_of)
    sum += calls;
  return sum;
}

void check_called(form which, int before_all, const int* before) {
  const form end = end_of(which);
  const bool expected = end != form::count;
  if (all_calls() - before_all != expected ||
      (expected && calls_of[index_of(end)] - before[index_of(end)] != 1)) {
    printf("form %zu should end in form %zu\n", index_of(which), index_of(end));
    for (std::size_t i = 0; i < form_count; ++i)
      if (calls_of[i] != before[i])
        printf("  it called form %zu\n", i);
    CHECK(false);
  }
}

template <class Call>
auto checked(form which, Call call) {
  int before[form_count];
  std::memcpy(before, calls_of, sizeof before);
  const int before_all = all_calls();
  if constexpr (std::is_void_v<decltype(call())>) {
    call();
    check_called(which, before_all, before);
  } else {
    void* const block = hide(call());
    check_called(which, before_all, before);
    return block;
  }
}

constexpr std::align_val_t wide{128};

void* make(form which, std::size_t n) {
  switch (which) {
  case form::new_plain:
    return checked(which, [=] { return ::operator new(n); });
  case form::new_array:
    return checked(which, [=] { return ::operator new[](n); });
  case form::new_nothrow:
    return checked(which, [=] { return ::operator new(n, std::nothrow); });
  case form::new_array_nothrow:
    return checked(which, [=] { return ::operator new[](n, std::nothrow); });
  case form::new_aligned:
    return checked(which, [=] { return ::operator new(n, wide); });
  case form::new_array_aligned:
    return checked(which, [=] { return ::operator new[](n, wide); });
  case form::new_aligned_nothrow:
    return checked(which, [=] { return ::operator new(n, wide, std::nothrow); });
  default:
    return checked(which, [=] { return ::operator new[](n, wide, std::nothrow); });
  }
}

void release(form which, void* p, std::size_t n) {
  checked(which, [=] {
    switch (which) {
    case form::delete_plain:
      return ::operator delete(p);
    case form::delete_array:
      return ::operator delete[](p);
    case form::delete_sized:
      return ::operator delete(p, n);
    case form::delete_array_sized:
      return ::operator delete[](p, n);
    case form::delete_nothrow:
      return ::operator delete(p, std::nothrow);
    case form::delete_array_nothrow:
      return ::operator delete[](p, std::nothrow);
    case form::delete_aligned:
      return ::operator delete(p, wide);
    case form::delete_array_aligned:
      return ::operator delete[](p, wide);
    case form::delete_aligned_sized:
      return ::operator delete(p, n, wide);
    case form::delete_array_aligned_sized:
      return ::operator delete[](p, n, wide);
    case form::delete_aligned_nothrow:
      return ::operator delete(p, wide, std::nothrow);
    default:
      return ::operator delete[](p, wide, std::nothrow);
    }
  });
}

constexpr form news[] = {form::new_plain,           form::new_array,
                         form::new_nothrow,         form::new_array_nothrow,
                         form::new_aligned,         form::new_array_aligned,
                         form::new_aligned_nothrow, form::new_array_aligned_nothrow};
constexpr form deletes[] = {form::delete_plain,           form::delete_array,
                            form::delete_sized,           form::delete_array_sized,
                            form::delete_nothrow,         form::delete_array_nothrow,
                            form::delete_aligned,         form::delete_array_aligned,
                            form::delete_aligned_sized,   form::delete_array_aligned_sized,
                            form::delete_aligned_nothrow, form::delete_array_aligned_nothrow};

// Enough of each size that caches fill and overflow.
void every_form(std::size_t size, int count) {
  for (const form with_new : news) {
    for (const form with_delete : deletes) {
      std::vector<void*> blocks(static_cast<std::size_t>(count));
      for (void*& block : blocks) {
        block = make(with_new, size);
        CHECK(block != nullptr);
        std::memset(block, 0x77, size);
      }
      for (void* block : blocks)
        release(with_delete, block, size);
      release(with_delete, hide(static_cast<void*>(nullptr)), size);
    }
  }
}

bool is_nothrow(form which) {
  return which == form::new_nothrow || which == form::new_array_nothrow ||
         which == form::new_aligned_nothrow || which == form::new_array_aligned_nothrow;
}

// What a replaced form throws passes through the forms that call it, and stops in nothrow forms.
void failures() {
  for (const form which : news) {
    if (end_of(which) == form::count)
      continue;
    the_replacements.throws = true;
    void* block = nullptr;
    bool thrown = false;
    try {
      block = make(which, 100);
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    the_replacements.throws = false;
    CHECK_EQ(thrown, !is_nothrow(which));
    CHECK_EQ(block, nullptr);
  }
}

struct thing {
  int x[10];
  ~thing() { x[0] = 0; }
};
struct alignas(64) wide_thing {
  char x[100];
  ~wide_thing() { x[0] = 0; }
};

template <class T>
void expressions(form plain_new, form plain_delete, form array_delete) {
  T* one = nullptr;
  checked(plain_new, [&] { one = hide(new T); });
  checked(plain_delete, [&] { delete one; });
  const bool wide_type = alignof(T) > 16;
  checked(wide_type ? form::new_array_aligned : form::new_array, [&] { one = hide(new T[10]); });
  checked(array_delete, [&] { delete[] one; });
  checked(wide_type ? form::new_aligned_nothrow : form::new_nothrow,
          [&] { one = hide(new (std::nothrow) T); });
  checked(plain_delete, [&] { delete one; });
}

void new_expressions() {
#if defined(__cpp_sized_deallocation)
  expressions<thing>(form::new_plain, form::delete_sized, form::delete_array_sized);
  expressions<wide_thing>(form::new_aligned, form::delete_aligned_sized,
                          form::delete_array_aligned_sized);
#else
  expressions<thing>(form::new_plain, form::delete_plain, form::delete_array);
  expressions<wide_thing>(form::new_aligned, form::delete_aligned, form::delete_array_aligned);
#endif
}

// Parts of these are functions of libstdc++, with calls of their own.
void standard_library() {
  std::vector<std::string> words;
  for (int i = 0; i < 1000; ++i)
    words.push_back(std::string(static_cast<std::size_t>(i), 'w') + std::to_string(i));
  auto shared = std::make_shared<std::string>(words.back());
  words.clear();
  CHECK_EQ(shared->size(), 1002);
}

// In a position-dependent program these are stubs, which the library is bound to in its turn.
void addresses_are_taken() {
  using new_function = void*(std::size_t);
  using delete_function = void(void*) noexcept;
  CHECK(hide(static_cast<new_function*>(::operator new)) != nullptr);
  CHECK(hide(static_cast<new_function*>(::operator new[])) != nullptr);
  CHECK(hide(static_cast<delete_function*>(::operator delete)) != nullptr);
}

void everything() {
  new_expressions();
  for (std::size_t size : size_list{1, 100, 5000, 40000})
    every_form(size, 60);
  every_form(24, 400);
  every_form(3 * mib, 2);
  standard_library();
}

} // namespace

int main() {
#ifdef METE_TEST_ALL_STATIC // where nothing can be looked up by name
  alarm(check_time_limit_s);
  CHECK_EQ(std::strcmp(mete_version(), METE_VERSION), 0);
#else
  require_mete();
#endif
  release(form::delete_sized, hide(make(form::new_plain, 100)), 100); // the process's first block
  addresses_are_taken();
  everything();
  failures();
  std::thread threads[4];
  for (std::thread& thread : threads)
    thread = std::thread(everything);
  for (std::thread& thread : threads)
    thread.join();
}
