// Settings: METE_OPTIONS="key=value,..." and mete_option_set().
//
// One table (options_table.inc) is the only place that knows an option: it generates the struct of
// values, the parser's names and bounds, and docs/options.md.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>

namespace mete {

class message;

enum class when_set { at_start, any_time };

struct option_description {
  const char* name;
  long long fallback; // the default
  long long minimum;
  long long maximum;
  when_set when;
  const char* unit;
  const char* help;
};

// Values, read anywhere. Relaxed atomics: an option may change at any time, and no other data is
// published by it.
struct option_values {
#define METE_OPTION(name, fallback, minimum, maximum, when, unit, help)                            \
  std::atomic<long long> name{fallback};
#include "base/options_table.inc"
#undef METE_OPTION
};
extern constinit option_values options;

inline long long option(const std::atomic<long long>& value) {
  return value.load(std::memory_order_relaxed);
}

inline constexpr option_description option_table[] = {
#define METE_OPTION(name, fallback, minimum, maximum, when, unit, help)                            \
  {#name, fallback, minimum, maximum, when_set::when, unit, help},
#include "base/options_table.inc"
#undef METE_OPTION
};
inline constexpr std::size_t option_count = sizeof option_table / sizeof option_table[0];

// The value behind option_table[index].
std::atomic<long long>& option_value(std::size_t index);

// Sets options from `text` ("key=value,key=value"; sizes may end in k, m or g). What is unknown or
// out of range is reported, one line each, on standard error, and skipped.
void parse_options(const char* text);

// The same; each of those lines goes to `report`, with `context`, instead of standard error.
using options_report = void (*)(const message& line, void* context);
void parse_options(const char* text, options_report report, void* context);

enum class option_error { none, unknown, out_of_range, at_start_only };
option_error get_option(const char* name, long long& value);
option_error set_option(const char* name, long long value);

} // namespace mete
