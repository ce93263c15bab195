// The C++ library that late_cxx.c opens: operator new without memory, with and without a
// new-handler.
//
// SPDX-License-Identifier: MIT
#include "check.hpp"

#include <new>
#include <string>
#include <vector>

namespace {

const std::size_t too_much = hide(SIZE_MAX / 2 - 100);
constexpr std::align_val_t wide{256};

struct own_failure {};

template <class Exception, class Call>
bool throws(Call call) {
  try {
    (void)hide(call());
  } catch (const Exception&) {
    return true;
  }
  return false;
}

void without_a_handler() {
  CHECK(throws<std::bad_alloc>([] { return ::operator new(too_much); }));
  CHECK(throws<std::bad_alloc>([] { return ::operator new[](too_much); }));
  CHECK(throws<std::bad_alloc>([] { return ::operator new(too_much, wide); }));
  CHECK(throws<std::bad_alloc>([] { return ::operator new[](too_much, wide); }));
  CHECK_EQ(hide(::operator new(too_much, std::nothrow)), nullptr);
  CHECK_EQ(hide(::operator new[](too_much, std::nothrow)), nullptr);
  CHECK_EQ(hide(::operator new(too_much, wide, std::nothrow)), nullptr);
  CHECK_EQ(hide(::operator new[](too_much, wide, std::nothrow)), nullptr);
}

int calls;

void with_a_handler_that_gives_up() {
  calls = 0; // the library may have stayed loaded since its last test
  const auto give_up = [] {
    if (++calls % 3 == 0) {
      std::set_new_handler(nullptr);
    }
  };
  std::set_new_handler(give_up);
  CHECK(throws<std::bad_alloc>([] { return ::operator new(too_much); }));
  CHECK_EQ(calls, 3);
  std::set_new_handler(give_up);
  CHECK_EQ(hide(::operator new[](too_much, std::nothrow)), nullptr);
  CHECK_EQ(calls, 6);
}

void with_a_handler_that_throws() {
  std::set_new_handler([] { throw own_failure{}; });
  CHECK(throws<own_failure>([] { return ::operator new(too_much); }));
  std::set_new_handler([] { throw std::bad_alloc{}; });
  CHECK_EQ(hide(::operator new(too_much, std::nothrow)), nullptr);
  CHECK_EQ(hide(::operator new[](too_much, std::nothrow)), nullptr);
  CHECK_EQ(hide(::operator new(too_much, wide, std::nothrow)), nullptr);
  CHECK_EQ(hide(::operator new[](too_much, wide, std::nothrow)), nullptr);
  std::set_new_handler(nullptr);
}

} // namespace

extern "C" __attribute__((visibility("default"))) void plugin_test() {
  std::vector<std::string> words(100, std::string(100, 'w'));
  without_a_handler();
  with_a_handler_that_gives_up();
  with_a_handler_that_throws();
}
