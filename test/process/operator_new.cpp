// Every form of operator new and delete, and the new-handler loop: the handler is called until it
// frees memory, throws, or is taken away.
//
// SPDX-License-Identifier: MIT
#include "process.hpp"

#include <malloc.h>
#include <new>
#include <sys/mman.h>

namespace {

const std::size_t sizes[] = {0, 1, 16, 100, 1024, 5000, 40000, 200000, 3 * mib};

void* use(void* block, std::size_t size, std::size_t alignment) {
  CHECK(block != nullptr);
  CHECK(is_aligned(block, alignment) && is_aligned(block, 16));
  CHECK_GE(malloc_usable_size(block), size);
  std::memset(block, 0x3c, size);
  return hide(block);
}

void every_form(std::size_t n) {
  ::operator delete(use(::operator new(n), n, 16));
  ::operator delete[](use(::operator new[](n), n, 16));
  ::operator delete(use(::operator new(n), n, 16), n);
  ::operator delete[](use(::operator new[](n), n, 16), n);
  ::operator delete(use(::operator new(n, std::nothrow), n, 16), std::nothrow);
  ::operator delete[](use(::operator new[](n, std::nothrow), n, 16), std::nothrow);
}

void every_aligned_form(std::size_t n, std::size_t alignment) {
  std::align_val_t a{alignment};
  ::operator delete(use(::operator new(n, a), n, alignment), a);
  ::operator delete[](use(::operator new[](n, a), n, alignment), a);
  ::operator delete(use(::operator new(n, a), n, alignment), n, a);
  ::operator delete[](use(::operator new[](n, a), n, alignment), n, a);
  ::operator delete(use(::operator new(n, a, std::nothrow), n, alignment), a, std::nothrow);
  ::operator delete[](use(::operator new[](n, a, std::nothrow), n, alignment), a, std::nothrow);
}

void deleting_null_does_nothing() {
  auto none = [] { return hide(static_cast<void*>(nullptr)); };
  ::operator delete(none());
  ::operator delete[](none());
  ::operator delete (none(), std::size_t{8});
  ::operator delete[](none(), std::size_t{8}, std::align_val_t{64});
  ::operator delete (none(), std::align_val_t{64});
}

template <class Exception, class Call>
bool throws(Call call) {
  try {
    void* block = call();
    (void)hide(block);
  } catch (const Exception&) {
    return true;
  }
  return false;
}

const std::size_t too_much = hide(SIZE_MAX / 2 - 100);

void failures() {
  std::align_val_t a{256};
  CHECK(throws<std::bad_alloc>([] { return ::operator new(too_much); }));
  CHECK(throws<std::bad_alloc>([] { return ::operator new[](too_much); }));
  CHECK(throws<std::bad_alloc>([a] { return ::operator new(too_much, a); }));
  CHECK(throws<std::bad_alloc>([a] { return ::operator new[](too_much, a); }));
  CHECK(throws<std::bad_alloc>([] { return ::operator new(hide(SIZE_MAX)); }));
  if (!check_any_allocator()) { // libstdc++ 12 rounds this size up to 0 and succeeds
    CHECK(throws<std::bad_alloc>([a] { return ::operator new(hide(SIZE_MAX), a); }));
  }
  CHECK_EQ(::operator new(too_much, std::nothrow), nullptr);
  CHECK_EQ(::operator new[](too_much, std::nothrow), nullptr);
  CHECK_EQ(::operator new(too_much, a, std::nothrow), nullptr);
  CHECK_EQ(::operator new[](too_much, a, std::nothrow), nullptr);
}

int calls;

void give_up_at_the_third_call() {
  if (++calls == 3) {
    std::set_new_handler(nullptr);
  }
}

template <class Call>
void check_three_calls(Call call, bool expect_throw) {
  calls = 0;
  std::set_new_handler(give_up_at_the_third_call);
  CHECK_EQ(throws<std::bad_alloc>(call), expect_throw);
  CHECK_EQ(calls, 3);
}

void handler_is_called_repeatedly() {
  std::align_val_t a{4096};
  check_three_calls([] { return ::operator new(too_much); }, true);
  check_three_calls([] { return ::operator new[](too_much); }, true);
  check_three_calls([a] { return ::operator new(too_much, a); }, true);
  check_three_calls([a] { return ::operator new[](too_much, a); }, true);
  check_three_calls([] { return ::operator new(too_much, std::nothrow); }, false);
  check_three_calls([] { return ::operator new[](too_much, std::nothrow); }, false);
  check_three_calls([a] { return ::operator new(too_much, a, std::nothrow); }, false);
  check_three_calls([a] { return ::operator new[](too_much, a, std::nothrow); }, false);
}

struct own_failure {};

void handler_may_throw() {
  std::set_new_handler([] { throw own_failure{}; });
  CHECK(throws<own_failure>([] { return ::operator new(too_much); }));
  std::set_new_handler([] { throw std::bad_alloc{}; });
  CHECK_EQ(::operator new(too_much, std::nothrow), nullptr); // swallows it
  std::set_new_handler(nullptr);
}

void* ballast;
constexpr std::size_t ballast_size = 512 * mib;

// The handler gives memory back, and the same call then succeeds. RLIMIT_DATA counts what is
// writable, whether the allocator has mapped it or only reserved it before. Emulators accept such
// limits and do not keep them.
void handler_may_free_memory() {
  child_result result = run_child([] {
    ballast =
        mmap(nullptr, ballast_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_NE(ballast, MAP_FAILED);
    long long data = read_figure("/proc/self/status", "\nVmData:");
    set_limit(RLIMIT_DATA, static_cast<std::size_t>(data) * kib + 16 * mib);
    void* probe =
        mmap(nullptr, 32 * mib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe != MAP_FAILED) {
      printf("left out: handler_may_free_memory, because RLIMIT_DATA is not enforced here\n");
      std::fflush(stdout);
      return;
    }
    std::set_new_handler([] {
      ++calls;
      munmap(ballast, ballast_size);
      std::set_new_handler(nullptr);
    });
    calls = 0;
    void* block = ::operator new(200 * mib);
    CHECK_EQ(calls, 1);
    ::operator delete(block);
  });
  if (!result.exited_with(0)) {
    describe("handler_may_free_memory", result);
  }
  CHECK(result.exited_with(0));
}

} // namespace

int main() {
  require_mete();
  for (std::size_t size : sizes) {
    for (int i = 0; i < 50; ++i) {
      every_form(size);
    }
    for (std::size_t alignment = 1; alignment <= 4 * mib; alignment *= 2) {
      every_aligned_form(size, alignment);
    }
  }
  deleting_null_does_nothing();
  failures();
  handler_is_called_repeatedly();
  handler_may_throw();
  handler_may_free_memory();
}
