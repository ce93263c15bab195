// Whose operator new and delete, for processes that are made up. Real programs are in
// doctor_test.py and run_test.py.
//
// SPDX-License-Identifier: MIT
#include "cli/operator_checks.hpp"

#include "cli/active_allocator.hpp"
#include "cli/finding_for_test.hpp"

#include <gtest/gtest.h>

namespace mete::cli {
namespace {

using words = std::vector<std::string>;

const words basic_forms{"_ZdlPv", "_Znwm"};

object_facts file(const std::string& path, words functions = {}, bool calls_malloc = false) {
  object_facts facts;
  facts.path = path;
  facts.known = true;
  facts.elf.interpreter = "/lib64/ld-linux-x86-64.so.2";
  facts.elf.shared_object_name = file_name(path);
  facts.functions = std::move(functions);
  facts.calls_malloc = calls_malloc;
  return facts;
}

// The program, libmete.so with all forms, what is given, libstdc++.
std::string check(object_facts program, std::vector<object_facts> libraries = {}) {
  subject whose;
  whose.objects = {std::move(program), file("/libmete.so", {"_ZdaPv", "_ZdlPv", "_ZdlPvm", "_Znam",
                                                            "_Znwm", "malloc"})};
  whose.objects.insert(whose.objects.end(), libraries.begin(), libraries.end());
  whose.objects.push_back(file("/libstdc++.so.6", basic_forms, true));
  return said(check_operators(whose, find_providers(whose.objects), 1));
}

TEST(is_new_or_delete, the_forms_that_may_be_replaced) {
  for (const char* form : {"_Znwm", "_Znam", "_Znwj", "_ZnwmRKSt9nothrow_t", "_ZnamSt11align_val_t",
                           "_ZnwmSt11align_val_tRKSt9nothrow_t", "_ZdlPv", "_ZdaPv", "_ZdlPvm",
                           "_ZdaPvj", "_ZdlPvRKSt9nothrow_t", "_ZdlPvSt11align_val_t",
                           "_ZdaPvmSt11align_val_t", "_ZdlPvSt11align_val_tRKSt9nothrow_t"})
    EXPECT_TRUE(is_new_or_delete(form)) << form;
  // Placement forms, those of classes, and others.
  for (const char* form : {"_Znw", "_Znwi", "_ZnwmPv", "_ZdlPvS_", "_ZnwmRN4llvm9AllocatorE",
                           "_ZnwIN4llvm9AllocatorEEPvmRT_", "_ZN1CnwEm", "_ZN1CdlEPv", "_Zne", ""})
    EXPECT_FALSE(is_new_or_delete(form)) << form;
}

TEST(operators_check, nothing_to_say_where_all_are_the_allocators_or_the_cxx_librarys) {
  EXPECT_EQ(check(file("/program")), "");
  object_facts linked = file("/program", basic_forms, true);
  linked.cxx_library_inside = true;
  EXPECT_EQ(check(linked), "");
}

TEST(operators_check, of_the_program) {
  EXPECT_EQ(
      check(file("/program", basic_forms, true)),
      "note: operator new and delete come from /program, which calls malloc, too: C++ objects "
      "are on libmete.so only as far as these do | build that without them to have C++ "
      "objects on libmete.so\n");
  EXPECT_EQ(check(file("/program", basic_forms)),
            "note: operator new and delete come from /program, which does not call malloc itself: "
            "C++ objects are not on libmete.so, unless a library does it | build that without them "
            "to have C++ objects on libmete.so\n");
}

TEST(operators_check, one_without_the_other_is_right_only_if_it_asks_malloc) {
  EXPECT_EQ(check(file("/program", {"_ZdlPv"}, true)),
            "note: operator new comes from /libmete.so, but operator delete from /program: right "
            "only if these call malloc and free | replace both in the same program or library\n");
  EXPECT_TRUE(holds(check(file("/program", {"_Znam"})),
                    "problem: operator new comes from /program, but operator delete from "
                    "/libmete.so"));
}

TEST(operators_check, of_libraries_that_come_later) {
  EXPECT_EQ(check(file("/program"), {file("/libpool.so", basic_forms)}),
            "note: /libpool.so has operator new and delete of its own, which are not used: those "
            "of /libmete.so come first\n");
  EXPECT_EQ(check(file("/program"), {file("/libtcmalloc.so.4", basic_forms)}), "");
}

} // namespace
} // namespace mete::cli
