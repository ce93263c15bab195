# The install rules: libraries, headers, the mete command, and the descriptions by which CMake
# (find_package) and pkg-config find them.
#
# The installed tree can be moved: everything in it finds its neighbours by relative paths.
#
# SPDX-License-Identifier: MIT

include(CMakePackageConfigHelpers)

set(mete_libraries "")
foreach(target IN ITEMS mete_shared mete_static)
  if(TARGET ${target})
    list(APPEND mete_libraries ${target})
  endif()
endforeach()
if(NOT mete_libraries)
  # As in the sanitizer presets, which build the core and its tests only.
  message(STATUS "mete: no install rules, neither METE_BUILD_SHARED nor METE_BUILD_STATIC is on")
  return()
endif()

install(TARGETS ${mete_libraries} mete_toolkit EXPORT mete
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
if(TARGET mete_cli)
  install(TARGETS mete_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/mete" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp"
  PATTERN "*_test.hpp" EXCLUDE)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

# find_package(mete)
set(mete_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/mete")
install(EXPORT mete NAMESPACE mete:: FILE meteTargets.cmake DESTINATION "${mete_package_dir}")
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/meteConfig.cmake.in" "${PROJECT_BINARY_DIR}/meteConfig.cmake"
  INSTALL_DESTINATION "${mete_package_dir}"
  NO_SET_AND_CHECK_MACRO)
# Until version 1, a minor version may change the native interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/meteConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/meteConfig.cmake" "${PROJECT_BINARY_DIR}/meteConfigVersion.cmake"
  DESTINATION "${mete_package_dir}")

# pkg-config mete. Paths relative to the file itself, unless the user asked for absolute ones.
set(mete_pc_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
if(IS_ABSOLUTE "${mete_pc_dir}")
  set(mete_pc_prefix "${CMAKE_INSTALL_PREFIX}")
else()
  # The prefix as seen from lib/pkgconfig: one step up for every folder in that path.
  file(RELATIVE_PATH mete_pc_up "/${mete_pc_dir}" "/")
  string(REGEX REPLACE "/$" "" mete_pc_up "${mete_pc_up}")
  set(mete_pc_prefix "\${pcfiledir}/${mete_pc_up}")
endif()
foreach(kind IN ITEMS LIB INCLUDE)
  set(mete_pc_${kind}dir "${CMAKE_INSTALL_${kind}DIR}")
  if(NOT IS_ABSOLUTE "${mete_pc_${kind}dir}")
    string(PREPEND mete_pc_${kind}dir "\${prefix}/")
  endif()
endforeach()
configure_file("${PROJECT_SOURCE_DIR}/cmake/mete.pc.in" "${PROJECT_BINARY_DIR}/mete.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/mete.pc" DESTINATION "${mete_pc_dir}")
