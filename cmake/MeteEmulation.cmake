# What is different about tests that an emulator runs, as in a cross build. Decided here and nowhere
# else: which of them run at all, and in what environment.
#
#   mete_runs_here(<result> <test> <labels>)    FALSE: do not register it; the reason is recorded
#   mete_unit_test_filter(<result>)             the same for unit tests, as GoogleTest's filter
#   mete_report_tests_left_out()                prints what was recorded, once, at the end
#   mete_environment(<result> [PRELOAD] [<entry>...])
#                                               the entries and what else a test needs; PRELOAD: it
#                                               runs on libmete.so
#
# SPDX-License-Identifier: MIT

# Why a test cannot be emulated; "" if it can. The first reason that fits.
function(mete_reason_against result test labels)
  set(subject ";${test};${labels};")
  set(reason "")
  if(subject MATCHES ";exec;")
    set(reason "it starts programs, which would run without the emulator")
  elseif(subject MATCHES ";memory;" OR test STREQUAL "process.thread_ends")
    set(reason "it measures or limits memory, which is the emulator's as well")
  elseif(test MATCHES "^process\\.(fork_|before_and_after_main)")
    set(reason "in qemu-user, a child forked by a process with threads can start none itself")
  elseif(subject MATCHES ";long;")
    set(reason "it takes minutes even without an emulator")
  endif()
  set(${result} "${reason}" PARENT_SCOPE)
endfunction()

function(mete_leave_out test reason)
  set_property(GLOBAL APPEND PROPERTY mete_reasons "${reason}")
  set_property(GLOBAL APPEND PROPERTY "mete_left_out: ${reason}" "${test}")
endfunction()

function(mete_runs_here result test labels)
  set(${result} TRUE PARENT_SCOPE)
  if(CMAKE_CROSSCOMPILING)
    mete_reason_against(reason "${test}" "${labels}")
    if(reason)
      mete_leave_out("${test}" "${reason}")
      set(${result} FALSE PARENT_SCOPE)
    endif()
  endif()
endfunction()

function(mete_unit_test_filter result)
  set(${result} "" PARENT_SCOPE)
  if(CMAKE_CROSSCOMPILING)
    set(abort_test "check_death_test.misuse_says_what_where_and_what_is_known")
    mete_leave_out("${abort_test}"
      "it expects one line on standard error, and qemu-user adds its own after abort()")
    set(exec_tests "region_process_test.*")
    mete_leave_out("${exec_tests}" "it starts programs, which would run without the emulator")
    set(${result} "-${abort_test}:${exec_tests}" PARENT_SCOPE)
  endif()
endfunction()

function(mete_report_tests_left_out)
  get_property(reasons GLOBAL PROPERTY mete_reasons)
  list(REMOVE_DUPLICATES reasons)
  foreach(reason IN LISTS reasons)
    get_property(tests GLOBAL PROPERTY "mete_left_out: ${reason}")
    list(JOIN tests ", " tests)
    message(STATUS "tests left out, each because ${reason}: ${tests}")
  endforeach()
endfunction()

function(mete_environment result)
  cmake_parse_arguments(PARSE_ARGV 1 given "PRELOAD" "" "")
  set(environment ${given_UNPARSED_ARGUMENTS})
  set(preload "LD_PRELOAD=$<TARGET_FILE:mete_shared>")
  if(CMAKE_CROSSCOMPILING)
    set(preload "QEMU_SET_ENV=${preload}") # for the program, not for the emulator
    # qemu-user 7.2 pays for reserved address space by the page: the usual region takes every process
    # more than a second to start, and hundreds of MiB. The stress and fuzz tests take it all the same.
    if(NOT "${environment}" MATCHES "METE_OPTIONS=")
      list(APPEND environment "METE_OPTIONS=region_bytes=4g")
    endif()
  endif()
  if(given_PRELOAD)
    list(APPEND environment "${preload}")
  endif()
  set(${result} "${environment}" PARENT_SCOPE)
endfunction()
