# process.replaced_new.*: programs that replace some forms of operator new and delete, preloaded and
# linked in each way. The names of the forms are those of replaced_new.hpp.
#
# SPDX-License-Identifier: MIT

foreach(kind preloaded unsized no_pie static all_static)
  add_library(replaced_new_${kind} OBJECT replaced_new.cpp)
  mete_target(replaced_new_${kind})
  target_compile_definitions(replaced_new_${kind} PRIVATE _GNU_SOURCE)
  target_compile_options(replaced_new_${kind} PRIVATE ${process_compile_options})
  target_include_directories(replaced_new_${kind} PRIVATE
    "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/test/support")
endforeach()
target_compile_definitions(replaced_new_static PRIVATE METE_TEST_STATIC)
target_compile_definitions(replaced_new_all_static PRIVATE METE_TEST_ALL_STATIC)
target_compile_options(replaced_new_unsized PRIVATE -fno-sized-deallocation)
target_compile_options(replaced_new_no_pie PRIVATE -fno-pie)

# mete_replaced_new(<name> <form>...): a program that replaces these forms, preloaded and static.
function(mete_replaced_new name)
  list(TRANSFORM ARGN PREPEND "REPLACE_")
  add_library(replaced_forms_${name} OBJECT replaced_forms.cpp)
  mete_target(replaced_forms_${name})
  target_compile_definitions(replaced_forms_${name} PRIVATE ${ARGN})
  target_compile_options(replaced_forms_${name} PRIVATE ${process_compile_options}
    $<$<CXX_COMPILER_ID:GNU>:-Wno-sized-deallocation>) # that the rest is not replaced is the point
  mete_replaced_new_program(${name} preloaded ${name})
  mete_process_case(replaced_new.${name} PROGRAM process_replaced_new_${name} PRELOAD ON_CPU_TOO)
  if(TARGET mete_static)
    mete_replaced_new_program(${name}_static static ${name})
    target_link_libraries(process_replaced_new_${name}_static PRIVATE mete_static)
    mete_process_case(replaced_new.${name}.static PROGRAM process_replaced_new_${name}_static)
  endif()
endfunction()

function(mete_replaced_new_program name kind forms)
  set(target process_replaced_new_${name})
  add_executable(${target}
    $<TARGET_OBJECTS:replaced_new_${kind}> $<TARGET_OBJECTS:replaced_forms_${forms}>)
  set_target_properties(${target} PROPERTIES ENABLE_EXPORTS ON)
  target_link_libraries(${target} PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
endfunction()

set(basic new_plain delete_plain new_aligned delete_aligned)
set(array new_array delete_array new_array_aligned delete_array_aligned)
set(nothrow new_nothrow new_array_nothrow delete_nothrow delete_array_nothrow
  new_aligned_nothrow new_array_aligned_nothrow delete_aligned_nothrow delete_array_aligned_nothrow)
set(sized delete_sized delete_array_sized delete_aligned_sized delete_array_aligned_sized)
mete_replaced_new(nothing)
mete_replaced_new(plain new_plain delete_plain)
mete_replaced_new(aligned new_aligned delete_aligned)
mete_replaced_new(array ${array})
mete_replaced_new(nothrow ${nothrow})
mete_replaced_new(sized ${sized})
mete_replaced_new(new new_plain new_aligned)
mete_replaced_new(delete delete_plain)
mete_replaced_new(everything ${basic} ${array} ${nothrow} ${sized})

# Without sized deallocation; position-dependent, so that the address of a form is a stub of the
# program; linked with the shared library; without any shared library.
mete_replaced_new_program(unsized unsized plain)
mete_process_case(replaced_new.unsized PROGRAM process_replaced_new_unsized PRELOAD)
mete_replaced_new_program(no_pie no_pie nothing)
target_link_options(process_replaced_new_no_pie PRIVATE -no-pie)
mete_process_case(replaced_new.no_pie PROGRAM process_replaced_new_no_pie PRELOAD)
mete_replaced_new_program(linked preloaded plain)
target_link_libraries(process_replaced_new_linked PRIVATE mete_shared)
mete_process_case(replaced_new.linked PROGRAM process_replaced_new_linked)
if(TARGET mete_static)
  foreach(name nothing plain array everything)
    mete_replaced_new_program(${name}_all_static all_static ${name})
    target_link_libraries(process_replaced_new_${name}_all_static PRIVATE mete_static)
    target_link_options(process_replaced_new_${name}_all_static PRIVATE -static)
    mete_process_case(replaced_new.${name}.all_static
      PROGRAM process_replaced_new_${name}_all_static)
  endforeach()
endif()
