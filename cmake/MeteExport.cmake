# What it means to use mete: one description for the build tree, the installed package and a
# parent project (add_subdirectory, FetchContent).
#
#   mete::malloc_shared   the program runs on libmete.so
#   mete::malloc_static   the allocator is a part of the program
#   mete::malloc          the shared one, or the static one where only that is built
#   mete::toolkit         the headers of the toolkit; on any malloc (defined in src/CMakeLists.txt)
#
# A program that links an allocator usually names none of its symbols, so a linker may drop it:
# the shared library with --as-needed (the default on some systems), and of the archive everything
# that no object file asked for, which would split one malloc family between two allocators.
# Therefore the library is linked explicitly, and first: before any other library that brings a
# malloc. The second mention that CMake adds itself only gives the dependency and the rpath.
#
# Because the archive must link into C programs, it names std::__throw_bad_alloc() weakly, and a weak
# name takes nothing out of a static libstdc++. A C++ program that is linked with -static and uses so
# little of the C++ library that nothing else asks for that function adds the link option
# LINKER:--undefined=_ZSt17__throw_bad_allocv; it is not added for all, because with --as-needed it
# would make programs fail to link that do not need libstdc++ at all.
#
# Everything is set from scratch here. A consumer may be C or an older C++, so that how mete itself
# is compiled (its language level, its object libraries) must not reach it.
#
# SPDX-License-Identifier: MIT

# Call once, after the targets mete_shared and mete_static (either may be absent) are defined.
function(mete_export)
  foreach(kind IN ITEMS shared static)
    set(target mete_${kind})
    if(NOT TARGET ${target})
      continue()
    endif()
    if(kind STREQUAL "shared")
      set(mode "--no-as-needed")
      set(libraries "")
    else()
      set(mode "--whole-archive")
      set(libraries Threads::Threads)
    endif()
    set_target_properties(${target} PROPERTIES
      EXPORT_NAME malloc_${kind}
      INTERFACE_COMPILE_FEATURES ""
      INTERFACE_COMPILE_OPTIONS ""
      INTERFACE_COMPILE_DEFINITIONS ""
      INTERFACE_LINK_LIBRARIES "${libraries}"
      INTERFACE_LINK_OPTIONS
        "LINKER:--push-state,${mode},$<TARGET_FILE:$<TARGET_NAME:${target}>>,--pop-state"
      INTERFACE_INCLUDE_DIRECTORIES
        "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>;$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
    add_library(mete::malloc_${kind} ALIAS ${target})
  endforeach()

  if(TARGET mete_shared)
    add_library(mete::malloc ALIAS mete_shared)
  elseif(TARGET mete_static)
    add_library(mete::malloc ALIAS mete_static)
  endif()
endfunction()
