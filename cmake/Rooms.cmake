# A room is a folder: its .cc files make one static library `bulla_<room>`; the tests, fuzz targets
# and micro-benchmarks that lie beside them make programs of their own.

# bulla_room(<name> LINKS <libraries...>): what the room links is what it may include.
function(bulla_room name)
  cmake_parse_arguments(ARG "" "" "LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  file(GLOB tests CONFIGURE_DEPENDS *_test.cc)
  file(GLOB fuzzers CONFIGURE_DEPENDS *_fuzz.cc)
  file(GLOB benches CONFIGURE_DEPENDS *_bench.cc)
  list(FILTER sources EXCLUDE REGEX "(_test|_fuzz|_bench|/main)\\.cc$")

  if(sources)
    add_library(bulla_${name} STATIC ${sources})
    target_include_directories(bulla_${name} PUBLIC ${PROJECT_SOURCE_DIR})
    target_link_libraries(bulla_${name} PUBLIC ${ARG_LINKS})
  else()
    add_library(bulla_${name} INTERFACE)
    target_include_directories(bulla_${name} INTERFACE ${PROJECT_SOURCE_DIR})
    target_link_libraries(bulla_${name} INTERFACE ${ARG_LINKS})
  endif()

  if(NOT BULLA_TESTS)
    return()
  endif()
  if(tests)
    bulla_test(${name}_tests SOURCES ${tests} LINKS bulla_${name})
  endif()
  foreach(source ${fuzzers})
    bulla_fuzzer(${source} bulla_${name})
  endforeach()
  foreach(source ${benches})
    get_filename_component(program ${source} NAME_WE)
    add_executable(${program} ${source})
    target_link_libraries(${program} PRIVATE bulla_${name} benchmark::benchmark_main)
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
  endforeach()
endfunction()

# bulla_program(<name> ROOM <room>): the room's main.cc, as build/<preset>/bin/<name>.
function(bulla_program name)
  cmake_parse_arguments(ARG "" "ROOM" "LINKS" ${ARGN})
  add_executable(${name} main.cc)
  target_link_libraries(${name} PRIVATE bulla_${ARG_ROOM} ${ARG_LINKS})
  add_dependencies(programs ${name})
endfunction()

# bulla_test(<name> SOURCES ... LINKS ...): a GoogleTest program; each TEST is a ctest of its own,
# with the label, "unit" where none is given.
function(bulla_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT;LABEL" "SOURCES;LINKS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)  # a property without a value would take the next one's name for it
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINKS} GTest::gmock GTest::gtest_main)
  if(NOT BULLA_SANITIZE)
    # The code under test is optimised as it is shipped, its tests are not: half the time to build.
    target_compile_options(${name} PRIVATE -O0 -U_FORTIFY_SOURCE)
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  include(GoogleTest)
  gtest_discover_tests(${name}
    DISCOVERY_MODE PRE_TEST
    PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS ${ARG_LABEL}
    ENVIRONMENT "BULLA_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()

# A fuzz target runs in two ways: with libFuzzer (preset `fuzz`), and as a plain test that feeds it
# its corpus, `<name>_corpus/` beside the source, and a bounded number of mutations of it.
function(bulla_fuzzer source library)
  get_filename_component(program ${source} NAME_WE)
  get_filename_component(folder ${source} DIRECTORY)
  string(REGEX REPLACE "_fuzz$" "_corpus" corpus ${program})
  add_executable(${program} ${source})
  target_link_libraries(${program} PRIVATE ${library})
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  if(BULLA_FUZZ)
    target_link_options(${program} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${program} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz_replay.cc)
    add_test(NAME ${program} COMMAND ${program} ${folder}/${corpus})
  endif()
endfunction()
