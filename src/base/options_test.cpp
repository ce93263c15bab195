// The table, the parser of METE_OPTIONS, and reading and setting by name. The values are the
// process's own, so each test puts them back.
//
// SPDX-License-Identifier: MIT
#include "base/options.hpp"

#include "base/check.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace mete {
namespace {

class options_test : public testing::Test {
protected:
  options_test() {
    for (std::size_t index = 0; index < option_count; ++index)
      before.push_back(option(option_value(index)));
  }
  ~options_test() override {
    for (std::size_t index = 0; index < option_count; ++index)
      option_value(index).store(before[index]);
  }

  // What parsing says on standard error.
  static std::string parse(const char* text) {
    testing::internal::CaptureStderr();
    parse_options(text);
    return testing::internal::GetCapturedStderr();
  }

  // True if only the options named have another value than before.
  bool only_changed(const std::set<std::string>& names) const {
    for (std::size_t index = 0; index < option_count; ++index) {
      const bool changed = option(option_value(index)) != before[index];
      if (changed != names.contains(option_table[index].name))
        return false;
    }
    return true;
  }

  std::vector<long long> before;
};

TEST_F(options_test, the_table_is_consistent) {
  std::set<std::string> names;
  for (const option_description& each : option_table) {
    EXPECT_TRUE(names.insert(each.name).second) << each.name << " stands there twice";
    EXPECT_LE(each.minimum, each.fallback) << each.name;
    EXPECT_LE(each.fallback, each.maximum) << each.name;
    EXPECT_NE(each.help[0], '\0') << each.name;
    EXPECT_NE(each.unit[0], '\0') << each.name;
    long long value = 0;
    EXPECT_EQ(get_option(each.name, value), option_error::none) << each.name;
  }
}

TEST_F(options_test, values_lie_where_their_names_say) {
  for (std::size_t index = 0; index < option_count; ++index) {
    if (option_table[index].name == std::string("decay_ms")) {
      EXPECT_EQ(&option_value(index), &options.decay_ms);
    }
  }
}

TEST_F(options_test, assignments_are_taken_and_separators_skipped) {
  EXPECT_EQ(parse("decay_ms=17,,dirty_limit=5000 background=0,"), "");
  EXPECT_EQ(option(options.decay_ms), 17);
  EXPECT_EQ(option(options.dirty_limit), 5000);
  EXPECT_EQ(option(options.background), 0);
  EXPECT_TRUE(only_changed({"decay_ms", "dirty_limit", "background"}));
}

TEST_F(options_test, suffixes_are_binary) {
  EXPECT_EQ(parse("dirty_limit=3k"), "");
  EXPECT_EQ(option(options.dirty_limit), 3 * 1024);
  EXPECT_EQ(parse("dirty_limit=3M"), "");
  EXPECT_EQ(option(options.dirty_limit), 3 * 1024 * 1024);
  EXPECT_EQ(parse("dirty_limit=3g"), "");
  EXPECT_EQ(option(options.dirty_limit), 3LL * 1024 * 1024 * 1024);
}

TEST_F(options_test, a_name_alone_switches_on) {
  EXPECT_EQ(parse("verbose"), "");
  EXPECT_EQ(option(options.verbose), 1);
}

TEST_F(options_test, the_later_assignment_holds) {
  EXPECT_EQ(parse("decay_ms=1,decay_ms=2"), "");
  EXPECT_EQ(option(options.decay_ms), 2);
}

TEST_F(options_test, bounds_are_inclusive) {
  EXPECT_EQ(parse("decay_ms=3600000"), "");
  EXPECT_EQ(option(options.decay_ms), 3600000);
  EXPECT_NE(parse("decay_ms=3600001"), "");
  EXPECT_EQ(option(options.decay_ms), 3600000);
}

TEST_F(options_test, an_unknown_name_is_reported_in_one_line_and_the_rest_taken) {
  EXPECT_EQ(parse("decay=1,decay_ms=5"),
            "mete: METE_OPTIONS: unknown option 'decay' is ignored; docs/options.md lists them\n");
  EXPECT_EQ(option(options.decay_ms), 5);
  EXPECT_TRUE(only_changed({"decay_ms"}));
}

TEST_F(options_test, a_bad_value_is_reported_in_one_line_and_ignored) {
  for (const char* text :
       {"decay_ms=", "decay_ms=x", "decay_ms=1x", "decay_ms=1kk", "decay_ms=-1", "decay_ms=--1",
        "decay_ms=-", "decay_ms=k", "decay_ms=0x10", "decay_ms=1.5", "decay_ms=1=2",
        "decay_ms=99999999999999999999999999", "decay_ms=9999999999g", "verbose=2", "=1", "="}) {
    const std::string said = parse(text);
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << text << ": " << said;
    EXPECT_NE(said.find(" is ignored"), std::string::npos) << text << ": " << said;
    EXPECT_TRUE(only_changed({})) << text;
  }
  EXPECT_EQ(parse("decay_ms=x"), "mete: METE_OPTIONS: 'decay_ms=x' is ignored: decay_ms takes "
                                 "milliseconds, 0 to 3600000\n");
}

TEST_F(options_test, whoever_asks_gets_the_reports) {
  std::string report;
  testing::internal::CaptureStderr();
  parse_options(
      "decay=1",
      [](const message& line, void* text) {
        static_cast<std::string*>(text)->append(line.data(), line.length());
      },
      &report);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(report, "mete: METE_OPTIONS: unknown option 'decay' is ignored; docs/options.md lists "
                    "them");
}

TEST_F(options_test, a_very_long_text_is_survived) {
  const std::string text = std::string(5000, 'a') + "=1," + std::string(3000, '9') + ",decay_ms=8";
  EXPECT_NE(parse(text.c_str()), "");
  EXPECT_EQ(option(options.decay_ms), 8);
}

TEST_F(options_test, setting_by_name_keeps_the_rules) {
  long long value = 0;
  EXPECT_EQ(set_option("decay_ms", 55), option_error::none);
  EXPECT_EQ(get_option("decay_ms", value), option_error::none);
  EXPECT_EQ(value, 55);
  EXPECT_EQ(set_option("decay_ms", -1), option_error::out_of_range);
  EXPECT_EQ(set_option("decay_ms", 3600001), option_error::out_of_range);
  EXPECT_EQ(set_option("huge_pages", 1), option_error::at_start_only);
  EXPECT_EQ(set_option("decay", 1), option_error::unknown);
  EXPECT_EQ(get_option("decay", value), option_error::unknown);
  EXPECT_EQ(value, 55);
  EXPECT_TRUE(only_changed({"decay_ms"}));
}

} // namespace
} // namespace mete
