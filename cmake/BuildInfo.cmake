# What the programs were built from (base/build_info.h), as one small source file that only they
# link. Included, it makes the target `bulla_build_info`; each build runs it again as a script,
# which writes the file anew when what it says has changed, so that a commit costs one file and the
# links of the programs.

if(NOT CMAKE_SCRIPT_MODE_FILE)
  set(source ${CMAKE_BINARY_DIR}/generated/build_info.cc)
  set(compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}, ${CMAKE_BUILD_TYPE}")
  if(BULLA_SANITIZE)
    string(APPEND compiler ", sanitizer: ${BULLA_SANITIZE}")
  endif()
  add_custom_target(bulla_find_build_info
    COMMAND ${CMAKE_COMMAND} "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DOUTPUT=${source}"
            "-DVERSION=${PROJECT_VERSION}" "-DCOMPILER=${compiler}" "-DENGINE=${BULLA_ENGINE}"
            -P ${CMAKE_CURRENT_LIST_FILE}
    BYPRODUCTS ${source}
    COMMENT "" VERBATIM)
  add_library(bulla_build_info OBJECT ${source})
  target_include_directories(bulla_build_info PRIVATE ${PROJECT_SOURCE_DIR})
  add_dependencies(bulla_build_info bulla_find_build_info)
  return()
endif()

# Of the tree itself, and not of a repository that happens to lie around it; else what `git archive`
# has written into the file that it packed.
set(COMMIT)
if(EXISTS ${SOURCE_DIR}/.git)
  find_program(GIT git)
  if(GIT)
    execute_process(
      COMMAND ${GIT} --no-optional-locks describe --always --dirty --abbrev=12 --exclude=*
      WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE
      ERROR_QUIET)
  endif()
else()
  file(STRINGS ${SOURCE_DIR}/cmake/archived_commit.txt archived LIMIT_COUNT 1)
  string(REGEX MATCH "^[0-9a-f]+$" COMMIT "${archived}")
  string(SUBSTRING "${COMMIT}" 0 12 COMMIT)
endif()
if(NOT COMMIT)
  set(COMMIT unknown)
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
// Written by cmake/BuildInfo.cmake.

#include "base/build_info.h"

namespace bulla {

BuildInfo ThisBuild() {
  return {.version = "@VERSION@",
          .commit = "@COMMIT@",
          .compiler = "@COMPILER@",
          .engine = "@ENGINE@"};
}

}  // namespace bulla
]])
