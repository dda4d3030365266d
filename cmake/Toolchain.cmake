# What every file is compiled with. A preset chooses BULLA_SANITIZE and the compiler; nothing else
# in the tree sets a flag.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
# The one file in C, crypto/batch_ecdsa.c, is compiled as the rest.
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_FLAGS_RELEASE "${CMAKE_CXX_FLAGS_RELEASE}")
set(CMAKE_C_FLAGS_DEBUG "${CMAKE_CXX_FLAGS_DEBUG}")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C CXX)

set(BULLA_SANITIZE "" CACHE STRING "address, thread, or empty")
set_property(CACHE BULLA_SANITIZE PROPERTY STRINGS "" address thread)
option(BULLA_FUZZ "Build the fuzz targets against libFuzzer (clang only)" OFF)

add_compile_options(-pthread)  # everywhere, so that precompiled headers fit everywhere
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
# Designated initialisers leave out what has a default on purpose.
add_compile_options(-Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_compile_options(-Wthread-safety)
else()
  # GCC 12 sees overflows in inlined standard containers that are not there (PR105329 and kin).
  add_compile_options(-Wno-restrict -Wno-stringop-overflow -Wno-array-bounds)
endif()

# Hardening, and what this compiler gets wrong without: see the file.
set(options_file ${CMAKE_CURRENT_LIST_DIR}/compile_options.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${options_file})
set(whom all)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND whom gcc)
endif()
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug" AND NOT BULLA_SANITIZE AND NOT BULLA_FUZZ)
  list(APPEND whom optimised)
endif()
set(BULLA_COMPILE_OPTIONS)
foreach(name ${whom})
  file(STRINGS ${options_file} lines REGEX "^${name} ")
  list(TRANSFORM lines REPLACE "^${name} " "")
  list(APPEND BULLA_COMPILE_OPTIONS ${lines})
endforeach()
add_compile_options(${BULLA_COMPILE_OPTIONS})
include(${CMAKE_CURRENT_LIST_DIR}/CompilerCheck.cmake)
# The code under test is optimised as it is shipped, its tests are not: half the time to build.
set(BULLA_TEST_OPTIONS)
if(NOT BULLA_SANITIZE)
  set(BULLA_TEST_OPTIONS -O0 -U_FORTIFY_SOURCE)
endif()
# Debian's C start files are not marked for CET, so the linker is told that all of ours are;
# tests/structure/hardening_test.py holds them to it.
add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack,-z,ibt,-z,shstk)

if(BULLA_SANITIZE AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # What the sanitizers add hides from GCC that an optional's value is looked at only when it is
  # there.
  add_compile_options(-Wno-maybe-uninitialized)
endif()
if(BULLA_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
elseif(BULLA_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread)
  # ThreadSanitizer does not know the fences that Asio adds to the locks of its queues (and GCC says
  # so, as a warning).
  add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
  add_link_options(-fsanitize=thread)
endif()
if(BULLA_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
endif()

find_program(BULLA_CCACHE ccache)
if(BULLA_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Paths inside the tree count as relative, so that a clone elsewhere finds the same objects. What
  # it does not see in precompiled headers is a macro's definition that nothing here changes.
  set(BULLA_CCACHE ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
    CCACHE_SLOPPINESS=pch_defines,time_macros ${BULLA_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${BULLA_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${BULLA_CCACHE})
endif()
find_program(BULLA_MOLD mold)
if(BULLA_MOLD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_link_options(-fuse-ld=mold)
endif()
