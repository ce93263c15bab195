// SPDX-License-Identifier: MIT
#include "base/options.hpp"

#include "base/check.hpp"

#include <cstring>

namespace mete {

constinit option_values options;

std::atomic<long long>& option_value(std::size_t index) {
  std::atomic<long long>* const values[] = {
#define METE_OPTION(name, fallback, minimum, maximum, when, unit, help) &options.name,
#include "base/options_table.inc"
#undef METE_OPTION
  };
  return *values[index];
}

namespace {

struct text_view {
  const char* begin;
  std::size_t length;

  bool equals(const char* other) const {
    return std::strlen(other) == length && std::memcmp(begin, other, length) == 0;
  }
};

// REQUIRES: index < option_count or the option is unknown, in which case option_count comes back.
std::size_t find_option(text_view name) {
  std::size_t index = 0;
  while (index < option_count && !name.equals(option_table[index].name))
    ++index;
  return index;
}

// A decimal number with an optional suffix k, m or g (binary); false if it is none.
bool parse_number(text_view text, long long& value) {
  constexpr long long limit = 1LL << 60;
  bool negative = false;
  std::size_t at = 0;
  if (text.length > 1 && text.begin[0] == '-') {
    negative = true;
    at = 1;
  }
  const std::size_t digits_begin = at;
  long long number = 0;
  for (; at < text.length && text.begin[at] >= '0' && text.begin[at] <= '9'; ++at) {
    const int digit = text.begin[at] - '0';
    if (number > (limit - digit) / 10)
      return false;
    number = number * 10 + digit;
  }
  if (at == digits_begin)
    return false;
  if (at < text.length) {
    const char suffix = static_cast<char>(text.begin[at] | 0x20);
    const int shift = suffix == 'k' ? 10 : suffix == 'm' ? 20 : suffix == 'g' ? 30 : 0;
    if (shift == 0 || at + 1 != text.length || number > (limit >> shift))
      return false;
    number <<= shift;
  }
  value = negative ? -number : number;
  return true;
}

void parse_assignment(text_view text, options_report report, void* context) {
  const void* equals = std::memchr(text.begin, '=', text.length);
  const std::size_t name_length =
      equals != nullptr ? static_cast<std::size_t>(static_cast<const char*>(equals) - text.begin)
                        : text.length;
  const text_view name{text.begin, name_length};
  message line;
  line << "METE_OPTIONS: ";
  const std::size_t index = find_option(name);
  if (index == option_count) {
    line << "unknown option '";
    line.append(name.begin, name.length) << "' is ignored; docs/options.md lists them";
    report(line, context);
    return;
  }
  const option_description& description = option_table[index];
  long long value = 1; // a bare name switches it on
  const bool is_number =
      equals == nullptr ||
      parse_number({text.begin + name_length + 1, text.length - name_length - 1}, value);
  if (!is_number || value < description.minimum || value > description.maximum) {
    line << "'";
    line.append(text.begin, text.length)
        << "' is ignored: " << description.name << " takes " << description.unit << ", "
        << description.minimum << " to " << description.maximum;
    report(line, context);
    return;
  }
  option_value(index).store(value, std::memory_order_relaxed);
}

} // namespace

void parse_options(const char* text) {
  parse_options(
      text, [](const message& line, void*) { line.print(); }, nullptr);
}

void parse_options(const char* text, options_report report, void* context) {
  while (*text != '\0') {
    const std::size_t length = std::strcspn(text, ", ");
    if (length != 0)
      parse_assignment({text, length}, report, context);
    text += length;
    if (*text != '\0')
      ++text;
  }
}

option_error get_option(const char* name, long long& value) {
  const std::size_t index = find_option({name, std::strlen(name)});
  if (index == option_count)
    return option_error::unknown;
  value = option(option_value(index));
  return option_error::none;
}

option_error set_option(const char* name, long long value) {
  const std::size_t index = find_option({name, std::strlen(name)});
  if (index == option_count)
    return option_error::unknown;
  const option_description& description = option_table[index];
  if (description.when == when_set::at_start)
    return option_error::at_start_only;
  if (value < description.minimum || value > description.maximum)
    return option_error::out_of_range;
  option_value(index).store(value, std::memory_order_relaxed);
  return option_error::none;
}

} // namespace mete
