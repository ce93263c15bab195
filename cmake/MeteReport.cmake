# The page that `mete compare -o` fills, and its test. Both use packages from npm, which are
# installed in the build folder, never in the source tree; the lock files pin all of them.

find_program(METE_NPM npm)
find_program(METE_NODE NAMES node nodejs)
set(mete_npm_found OFF)
if(METE_NPM AND METE_NODE)
  set(mete_npm_found ON)
endif()
option(METE_BUILD_REPORT "Build the report of mete compare -o (needs npm and its registry)"
  ${mete_npm_found})
if(METE_BUILD_REPORT AND NOT mete_npm_found)
  message(FATAL_ERROR "METE_BUILD_REPORT is ON, but npm was not found: install nodejs and npm")
elseif(NOT METE_BUILD_REPORT)
  message(STATUS "mete: no report (mete compare -o), METE_BUILD_REPORT is OFF or npm was not found")
endif()

# Copies files of `folder` to the same folder in the build tree, where the packages of its
# package-lock.json are installed; again if the lock changes. Sets `result` to what depends on it
# can name: all the copies and the packages.
function(mete_npm_folder folder result)
  set(from "${CMAKE_CURRENT_SOURCE_DIR}/${folder}")
  set(to "${CMAKE_CURRENT_BINARY_DIR}/${folder}")
  file(MAKE_DIRECTORY "${to}")
  set(packages "${to}/node_modules/.package-lock.json")
  add_custom_command(OUTPUT "${packages}"
    COMMAND "${CMAKE_COMMAND}" -E copy "${from}/package.json" "${from}/package-lock.json" "${to}"
    COMMAND "${METE_NPM}" ci --ignore-scripts --no-audit --no-fund --loglevel=error
      || sh -c "echo 'npm could not install the packages; without network, configure with -DMETE_BUILD_REPORT=OFF'; exit 1"
    COMMAND "${CMAKE_COMMAND}" -E touch "${packages}"
    DEPENDS "${from}/package.json" "${from}/package-lock.json"
    WORKING_DIRECTORY "${to}" COMMENT "Installing the npm packages of ${folder}" VERBATIM)
  set(copies "")
  foreach(file IN LISTS ARGN)
    add_custom_command(OUTPUT "${to}/${file}"
      COMMAND "${CMAKE_COMMAND}" -E copy "${from}/${file}" "${to}/${file}"
      DEPENDS "${from}/${file}" VERBATIM)
    list(APPEND copies "${to}/${file}")
  endforeach()
  set(${result} "${copies}" "${packages}" PARENT_SCOPE)
endfunction()

# Makes the page a part of `target`, through its report.cpp.
function(mete_add_report target)
  mete_npm_folder(report inputs
    build.mjs report.html report.css
    appearance.js canvas.js curves.js data.js dom.js format.js frame.js labels.js overview.js
    overview_plots.js page.js plots.js table.js theme.js workload.js)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/report")
  add_custom_command(OUTPUT "${folder}/page.html"
    COMMAND "${METE_NODE}" build.mjs
    DEPENDS ${inputs} WORKING_DIRECTORY "${folder}" COMMENT "Bundling the report" VERBATIM)
  target_compile_definitions(${target} PUBLIC METE_HAS_REPORT)
  # Where the assembler looks for what .incbin names.
  set_source_files_properties(report.cpp PROPERTIES
    OBJECT_DEPENDS "${folder}/page.html" COMPILE_OPTIONS "-Wa,-I${folder}")
endfunction()

# The test in a browser. The page is the same in every build, so debug builds leave it out.
function(mete_add_report_test core)
  add_executable(mete_report_maker report/test/report_maker.cpp)
  mete_target(mete_report_maker)
  target_link_libraries(mete_report_maker PRIVATE ${core})
  mete_npm_folder(report/test inputs report_test.mjs fixtures.mjs)
  add_custom_target(mete_report_test ALL DEPENDS ${inputs})
  find_program(METE_CHROMIUM NAMES chromium chromium-browser google-chrome)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/report/test")
  add_test(NAME cli.report
    COMMAND "${METE_NODE}" "${folder}/report_test.mjs" $<TARGET_FILE:mete_report_maker>
      "${METE_CHROMIUM}" "${folder}/screenshots")
  set_tests_properties(cli.report PROPERTIES TIMEOUT 180)
endfunction()
