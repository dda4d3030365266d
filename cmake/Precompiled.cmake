# Headers of the libraries that most files include, parsed once: half a second less for each file.
# GCC alone, so that a file that includes less than it uses shows with clang (preset `clang`).
# `bulla_precompile(<target>)` for a library of ours, `bulla_precompile_test(<target>)` for a test.

set(headers
  <algorithm> <array> <atomic> <cerrno> <charconv> <chrono> <cstdint> <cstring> <filesystem>
  <functional> <map> <memory> <mutex> <optional> <span> <string> <string_view> <thread>
  <unordered_map> <utility> <variant> <vector>
  <absl/status/statusor.h> <fmt/format.h>)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(nothing ${CMAKE_BINARY_DIR}/generated/precompiled.cc)
  file(CONFIGURE OUTPUT ${nothing} CONTENT "" @ONLY)
  add_library(bulla_precompiled OBJECT ${nothing})
  target_link_libraries(bulla_precompiled PRIVATE absl::statusor fmt::fmt)
  target_precompile_headers(bulla_precompiled PRIVATE ${headers})
  if(BULLA_TESTS)
    add_library(bulla_precompiled_tests OBJECT ${nothing})
    target_link_libraries(bulla_precompiled_tests PRIVATE absl::statusor fmt::fmt GTest::gmock)
    target_precompile_headers(bulla_precompiled_tests PRIVATE ${headers}
      <gmock/gmock.h> <gtest/gtest.h>)
    # As executables are compiled.
    set_target_properties(bulla_precompiled_tests PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(bulla_precompiled_tests PRIVATE -fPIE ${BULLA_TEST_OPTIONS})
  endif()
endif()

function(bulla_precompile target)
  if(TARGET bulla_precompiled)
    target_precompile_headers(${target} REUSE_FROM bulla_precompiled)
  endif()
endfunction()

function(bulla_precompile_test target)
  if(TARGET bulla_precompiled_tests)
    target_precompile_headers(${target} REUSE_FROM bulla_precompiled_tests)
  endif()
endfunction()
