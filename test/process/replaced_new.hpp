// What the two halves of process.replaced_new share: the forms of operator new and delete, and what
// the replacements (replaced_forms.cpp) tell the test (replaced_new.cpp).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

enum class form {
  new_plain,
  new_array,
  new_nothrow,
  new_array_nothrow,
  new_aligned,
  new_array_aligned,
  new_aligned_nothrow,
  new_array_aligned_nothrow,
  delete_plain,
  delete_array,
  delete_sized,
  delete_array_sized,
  delete_nothrow,
  delete_array_nothrow,
  delete_aligned,
  delete_array_aligned,
  delete_aligned_sized,
  delete_array_aligned_sized,
  delete_aligned_nothrow,
  delete_array_aligned_nothrow,
  count,
};

constexpr std::size_t form_count = static_cast<std::size_t>(form::count);

struct replacements {
  bool replaced[form_count] = {};
  bool throws = false; // the replaced forms of new fail from now on, each in its own way
};
extern replacements the_replacements;

// Calls that this thread made of each replaced form.
extern thread_local int calls_of[form_count];
