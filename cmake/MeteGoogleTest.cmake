# GTest::gtest_main, from wherever it can be had: the system's library, or its sources.
#
# A distribution installs GoogleTest for its own architecture only, so a cross build compiles it
# from the sources that the package "googletest" brings.
#
# SPDX-License-Identifier: MIT

include(GoogleTest) # gtest_discover_tests()

set(METE_GOOGLETEST_SOURCE "/usr/src/googletest" CACHE PATH
  "GoogleTest's sources, used where its library is not installed")

find_package(GTest QUIET)
if(NOT TARGET GTest::gtest_main)
  set(googletest "${METE_GOOGLETEST_SOURCE}/googletest")
  if(NOT EXISTS "${googletest}/src/gtest-all.cc")
    message(FATAL_ERROR "the tests need GoogleTest, and there is neither its library for "
      "${CMAKE_SYSTEM_PROCESSOR} nor its source in ${METE_GOOGLETEST_SOURCE}; install it with: "
      "script/bootstrap test")
  endif()
  add_library(mete_googletest STATIC EXCLUDE_FROM_ALL
    "${googletest}/src/gtest-all.cc" "${googletest}/src/gtest_main.cc")
  target_compile_features(mete_googletest PUBLIC cxx_std_14)
  target_include_directories(mete_googletest SYSTEM
    PUBLIC "${googletest}/include" PRIVATE "${googletest}")
  target_link_libraries(mete_googletest PUBLIC Threads::Threads)
  add_library(GTest::gtest_main ALIAS mete_googletest)
endif()
