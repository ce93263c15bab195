# What is different about tests that an emulator runs, as in a cross build. Decided here and nowhere
# else: which of them run at all, and how a library is preloaded.
#
#   mete_runs_here(<result> <test> <labels>)  FALSE: do not register it; the reason is recorded
#   mete_report_tests_left_out()              prints what was recorded, once, at the end
#   mete_preload(<result>)                    the environment entry that preloads libmete.so
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
  elseif(test MATCHES "^process\\.operator_new")
    set(reason "it sets RLIMIT_DATA, which qemu-user accepts and ignores")
  elseif(test STREQUAL "process.misuse")
    set(reason "it expects one line on standard error, and qemu-user adds its own after abort()")
  elseif(test MATCHES "^process\\.(fork_threads|before_and_after_main)")
    set(reason "in qemu-user, a child forked by a process with threads can start none itself")
  elseif(subject MATCHES ";long;")
    set(reason "it takes minutes even without an emulator")
  endif()
  set(${result} "${reason}" PARENT_SCOPE)
endfunction()

function(mete_runs_here result test labels)
  set(reason "")
  if(CMAKE_CROSSCOMPILING)
    mete_reason_against(reason "${test}" "${labels}")
  endif()
  if(reason STREQUAL "")
    set(${result} TRUE PARENT_SCOPE)
  else()
    set_property(GLOBAL APPEND PROPERTY mete_reasons "${reason}")
    set_property(GLOBAL APPEND PROPERTY "mete_left_out: ${reason}" "${test}")
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()

function(mete_report_tests_left_out)
  get_property(reasons GLOBAL PROPERTY mete_reasons)
  list(REMOVE_DUPLICATES reasons)
  foreach(reason IN LISTS reasons)
    get_property(tests GLOBAL PROPERTY "mete_left_out: ${reason}")
    list(JOIN tests " " tests)
    message(STATUS "tests left out, each because ${reason}: ${tests}")
  endforeach()
endfunction()

# In LD_PRELOAD of the program that is emulated, not of the emulator.
function(mete_preload result)
  set(entry "LD_PRELOAD=$<TARGET_FILE:mete_shared>")
  if(CMAKE_CROSSCOMPILING)
    set(entry "QEMU_SET_ENV=${entry}")
  endif()
  set(${result} "${entry}" PARENT_SCOPE)
endfunction()
