// SPDX-License-Identifier: MIT
#include "cli/report.hpp"

#include "cli/command.hpp"

#include <gtest/gtest.h>
#include <regex>

namespace mete::cli {
namespace {

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += what.size())
    ++found;
  return found;
}

#ifdef METE_HAS_REPORT

// What the page holds as its data.
std::string data_in(const std::string& page) {
  const std::string begin = R"(<script type="application/json" id="data">)";
  const std::size_t start = page.find(begin) + begin.size();
  return page.substr(start, page.find("</script>", start) - start);
}

TEST(report_test, the_data_is_in_the_page_once) {
  ASSERT_NO_THROW(check_report());
  const std::string page = report_of(R"({"title":"a job"})");
  EXPECT_EQ(data_in(page), R"({"title":"a job"})");
  EXPECT_EQ(count(page, "a job"), 1U);
  EXPECT_EQ(count(page, "METE_REPORT_DATA"), 0U);
}

TEST(report_test, a_placeholder_in_the_data_stays) {
  EXPECT_EQ(data_in(report_of(R"({"title":"@METE_REPORT_DATA@"})")),
            R"({"title":"@METE_REPORT_DATA@"})");
}

TEST(report_test, data_cannot_end_its_element) {
  const std::string page = report_of(R"({"title":"</script><!--<script>"})");
  EXPECT_EQ(data_in(page), R"({"title":"\u003c/script>\u003c!--\u003cscript>"})");
  EXPECT_EQ(count(page, "</script>"), count(report_of("{}"), "</script>"));
}

TEST(report_test, line_separators_are_escaped_and_other_text_is_not) {
  EXPECT_EQ(data_in(report_of("[\"\u2028\u2029 \u20ac \u00e4\"]")),
            "[\"\\u2028\\u2029 \u20ac \u00e4\"]");
}

TEST(report_test, nothing_is_fetched) {
  const std::string page = report_of("{}");
  const std::regex fetched(R"((src|href)\s*=\s*["']?\s*(https?:)?//|\burl\([^#)]|@import)",
                           std::regex::icase);
  EXPECT_FALSE(std::regex_search(page, fetched));
  EXPECT_EQ(count(page, "default-src 'none'"), 1U);
}

#else

TEST(report_test, a_build_without_it_says_how_to_get_one) {
  EXPECT_THROW(check_report(), command_error);
  try {
    report_of("{}");
    FAIL() << "it made a report";
  } catch (const command_error& error) {
    EXPECT_EQ(error.status(), status_usage);
    EXPECT_EQ(count(error.what(), "METE_BUILD_REPORT"), 1U);
  }
}

#endif

} // namespace
} // namespace mete::cli
