# A room is a folder: its .cc files make one static library `bulla_<room>`; the tests, fuzz targets
# and micro-benchmarks that lie beside them make programs of their own. A room in another's folder
# has both names: gateway/http is `gateway_http`.

# bulla_room(<name> LINKS <libraries...> [TEST_LINKS <libraries...>]): what the room links is what
# it may include; its tests may include TEST_LINKS too. A folder in it is part of it, unless it has
# a CMakeLists.txt of its own.
function(bulla_room name)
  cmake_parse_arguments(ARG "" "" "LINKS;TEST_LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS *.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  file(GLOB_RECURSE inner */CMakeLists.txt)
  foreach(list ${inner})
    get_filename_component(folder ${list} DIRECTORY)
    list(FILTER sources EXCLUDE REGEX "^${folder}/")
  endforeach()
  foreach(kind test fuzz bench)
    set(${kind}_sources ${sources})
    list(FILTER ${kind}_sources INCLUDE REGEX "_${kind}\\.cc$")
    list(FILTER sources EXCLUDE REGEX "_${kind}\\.cc$")
  endforeach()

  if(sources)
    add_library(bulla_${name} STATIC ${sources})
    bulla_precompile(bulla_${name})
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
  if(test_sources)
    bulla_test(${name}_tests SOURCES ${test_sources} LINKS bulla_${name} ${ARG_TEST_LINKS})
  endif()
  foreach(source ${fuzz_sources})
    bulla_fuzzer(${source} bulla_${name})
  endforeach()
  foreach(source ${bench_sources})
    bulla_program_name(${source} program)
    add_executable(${program} ${source})
    target_link_libraries(${program} PRIVATE bulla_${name} benchmark::benchmark_main)
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
  endforeach()
endfunction()

# bulla_compile_fast(<files...>), in their room: for what runs seldom and takes long to compile, as
# what is made from the templates of Boost.Beast or CLI11: a third less at -O1.
function(bulla_compile_fast)
  # Precompiled headers are for the usual options.
  set_source_files_properties(${ARGN} PROPERTIES
    COMPILE_OPTIONS $<$<CONFIG:Release>:-O1> SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# The name of a program that is made of one file: the file's, with the room's in front where the
# room lies in another's folder, since file names there leave it away.
function(bulla_program_name source result)
  get_filename_component(name ${source} NAME_WE)
  get_filename_component(folder ${source} DIRECTORY)
  file(RELATIVE_PATH room ${PROJECT_SOURCE_DIR} ${folder})
  if(room MATCHES "/([^/]+)$")
    string(PREPEND name "${CMAKE_MATCH_1}_")
  endif()
  set(${result} ${name} PARENT_SCOPE)
endfunction()

# bulla_program(<name> [TOOL] LINKS <libraries...>): the folder's main.cc, as
# build/<preset>/bin/<name>; of the service, unless it is a TOOL beside it.
function(bulla_program name)
  cmake_parse_arguments(ARG "TOOL" "" "LINKS" ${ARGN})
  add_executable(${name} main.cc)
  target_link_libraries(${name} PRIVATE ${ARG_LINKS} bulla_build_info)
  add_dependencies(programs ${name})
  if(NOT ARG_TOOL)
    add_dependencies(service ${name})
  endif()
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
  target_compile_options(${name} PRIVATE ${BULLA_TEST_OPTIONS})
  bulla_precompile_test(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  include(GoogleTest)
  gtest_discover_tests(${name}
    DISCOVERY_MODE PRE_TEST
    PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS ${ARG_LABEL}
    ENVIRONMENT "BULLA_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()

# A fuzz target runs in two ways: with libFuzzer (preset `fuzz`), and as a plain test that feeds it
# its corpus, `x_corpus/` beside x_fuzz.cc, and a bounded number of mutations of it.
function(bulla_fuzzer source library)
  bulla_program_name(${source} program)
  string(REGEX REPLACE "_fuzz\\.cc$" "_corpus" corpus ${source})
  add_executable(${program} ${source})
  target_link_libraries(${program} PRIVATE ${library})
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  if(BULLA_FUZZ)
    target_link_options(${program} PRIVATE -fsanitize=fuzzer)
    file(WRITE ${CMAKE_BINARY_DIR}/fuzz/${program}.corpus ${corpus})  # for scripts/fuzz
  else()
    target_sources(${program} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz_replay.cc)
    add_test(NAME ${program} COMMAND ${program} ${corpus})
  endif()
endfunction()
