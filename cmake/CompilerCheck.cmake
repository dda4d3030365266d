# No build goes on with a compiler that makes wrong code of checks/stores_are_kept.c, at any level
# of optimisation, as C or as C++. Included by Toolchain.cmake, which has set BULLA_COMPILE_OPTIONS.

function(bulla_check_compiler source level)
  string(MAKE_C_IDENTIFIER "bulla_keeps_stores_${source}_${level}" checked)
  # What was right with these options is not tried again: the answer is in the cache.
  if("${${checked}}" STREQUAL "${BULLA_COMPILE_OPTIONS}")
    return()
  endif()
  try_run(status compiled ${CMAKE_BINARY_DIR}/compiler_check ${source}
    COMPILE_DEFINITIONS ${BULLA_COMPILE_OPTIONS} ${level}
    COMPILE_OUTPUT_VARIABLE output)
  if(NOT compiled)
    message(FATAL_ERROR "${source} does not compile with ${level}:\n${output}")
  elseif(NOT status EQUAL 0)
    message(FATAL_ERROR
      "${CMAKE_CXX_COMPILER} ${CMAKE_CXX_COMPILER_VERSION} makes wrong code of ${source} with "
      "${level} (${status}). cmake/compile_options.txt has the options that keep GCC 12.2 from it: "
      "are they in force? Otherwise use another compiler.")
  endif()
  set(${checked} "${BULLA_COMPILE_OPTIONS}" CACHE INTERNAL "options with which this was right")
  unset(status CACHE)
  unset(compiled CACHE)
endfunction()

configure_file(${CMAKE_CURRENT_LIST_DIR}/checks/stores_are_kept.c
  ${CMAKE_BINARY_DIR}/compiler_check/stores_are_kept.cc COPYONLY)
foreach(level -O1 -O2 -O3)
  bulla_check_compiler(${CMAKE_CURRENT_LIST_DIR}/checks/stores_are_kept.c ${level})
  bulla_check_compiler(${CMAKE_BINARY_DIR}/compiler_check/stores_are_kept.cc ${level})
endforeach()
