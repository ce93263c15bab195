# Installs the build into STAGE, moves it to PREFIX, and checks what lies there: all that was
# promised, and no trace of the folders in which it was built or first installed.
# SPDX-License-Identifier: MIT

# Stripped, as packages are: in debug information, Clang names a lambda by the file that it is in, and
# no option maps that.
file(REMOVE_RECURSE "${STAGE}" "${PREFIX}")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD_DIR}" --prefix "${STAGE}" --strip
  OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "cmake --install failed:\n${output}")
endif()
file(RENAME "${STAGE}" "${PREFIX}")

set(expected
  "${LIBDIR}/libmete.so" "${LIBDIR}/libmete.a"
  "${LIBDIR}/pkgconfig/mete.pc"
  "${LIBDIR}/cmake/mete/meteConfig.cmake" "${LIBDIR}/cmake/mete/meteConfigVersion.cmake"
  "${LIBDIR}/cmake/mete/meteTargets.cmake"
  "${INCLUDEDIR}/mete/mete.h"
  "share/doc/mete/LICENSE")
if(CLI)
  list(APPEND expected "${BINDIR}/mete")
endif()
foreach(file IN LISTS expected)
  if(NOT EXISTS "${PREFIX}/${file}")
    message(SEND_ERROR "not installed: ${file}")
  endif()
endforeach()

foreach(folder IN ITEMS "${STAGE}" "${BUILD_DIR}" "${SOURCE_DIR}")
  execute_process(COMMAND grep -rlaF -e "${folder}/" -e "${folder}\"" . WORKING_DIRECTORY "${PREFIX}"
    OUTPUT_VARIABLE files RESULT_VARIABLE result)
  if(result EQUAL 0)
    message(SEND_ERROR "these installed files name ${folder}:\n${files}"
      "(a binary: compile with -ffile-prefix-map; a description: use relative paths)")
  elseif(NOT result EQUAL 1)
    message(SEND_ERROR "grep failed over ${PREFIX}")
  endif()
endforeach()
