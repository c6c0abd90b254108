# The package is compiled with the flags of the release build, and takes its objects instead.
if(DFLOCKD_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/cmake/compile)
endif()

# What every target of the project is compiled with. Link `dflockd_options` first.
add_library(dflockd_options INTERFACE)
target_include_directories(dflockd_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
if(PROJECT_IS_TOP_LEVEL)
  target_compile_options(dflockd_options INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
endif()
target_compile_definitions(dflockd_options INTERFACE DFLOCKD_VERSION="${PROJECT_VERSION}")

if(DFLOCKD_WARNINGS_AS_ERRORS)
  target_compile_options(dflockd_options INTERFACE -Werror)
endif()

if(DFLOCKD_SANITIZE)
  target_compile_options(dflockd_options INTERFACE -fsanitize=address,undefined
                                                   -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(dflockd_options INTERFACE -fsanitize=address,undefined)
endif()

# The counters are shared by the threads of a process, and the files by processes that end together.
if(DFLOCKD_COVERAGE)
  target_compile_options(dflockd_options INTERFACE --coverage -fprofile-update=atomic)
endif()

if(DFLOCKD_FUZZ)
  target_compile_options(dflockd_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Standalone asio: header-only, and marked as a system header so that our warnings stay ours.
find_path(DFLOCKD_ASIO asio.hpp REQUIRED)
mark_as_advanced(DFLOCKD_ASIO)
add_library(dflockd_asio INTERFACE)
target_include_directories(dflockd_asio SYSTEM INTERFACE ${DFLOCKD_ASIO})
# Whether asio 1.22 finds std::aligned_alloc depends on what was included before it, and then files
# disagree on how to free memory; so none of them uses it.
target_compile_definitions(dflockd_asio INTERFACE ASIO_STANDALONE ASIO_NO_DEPRECATED
                                                  ASIO_DISABLE_STD_ALIGNED_ALLOC)
# asio 1.22 does not know that clang has coroutines; the fuzz targets are built with it.
target_compile_definitions(dflockd_asio INTERFACE
  $<$<CXX_COMPILER_ID:Clang>:ASIO_HAS_CO_AWAIT> $<$<CXX_COMPILER_ID:Clang>:ASIO_HAS_STD_COROUTINE>)
target_link_libraries(dflockd_asio INTERFACE Threads::Threads)

# dflockd_room(NAME SOURCES... ) declares one room of src/ as a static library.
function(dflockd_room name)
  add_library(dflockd_${name} STATIC ${ARGN})
  target_link_libraries(dflockd_${name} PUBLIC dflockd_options)
endfunction()

# dflockd_headers(OWNER HEADERS... [FOR TARGETS...]) has headers parsed once for all sources of a target and of
# others that are compiled alike. A source includes what it uses all the same: the sanitizers' builds
# precompile nothing, and fail otherwise.
function(dflockd_headers owner)
  if(DFLOCKD_SANITIZE)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" FOR)
  target_precompile_headers(${owner} PRIVATE ${arg_UNPARSED_ARGUMENTS})
  foreach(target IN LISTS arg_FOR)
    target_precompile_headers(${target} REUSE_FROM ${owner})
  endforeach()
endfunction()

# dflockd_full_of_templates(TARGET) marks what would take twice as long to compile if it were optimised
# with the sanitizers in it.
function(dflockd_full_of_templates target)
  if(DFLOCKD_SANITIZE)
    target_compile_options(${target} PRIVATE -O0)
  endif()
endfunction()

# dflockd_command_line(SOURCE...) marks files of this directory that include CLI11 or toml++. To optimise
# it takes longer than all the rest of such a file, for what runs once.
function(dflockd_command_line)
  set_source_files_properties(${ARGN} PROPERTIES
    COMPILE_OPTIONS $<IF:$<BOOL:${DFLOCKD_SANITIZE}>,-O0,-Og>
    SKIP_PRECOMPILE_HEADERS ON)  # which is optimised
endfunction()

# dflockd_test(NAME SOURCES...) declares a GoogleTest program and registers each of its cases, so
# that ctest runs them in parallel. Link the room under test afterwards.
function(dflockd_test name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE dflockd_test_options GTest::gtest_main)
  target_precompile_headers(${name} REUSE_FROM dflockd_test_headers)
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
                       PROPERTIES TIMEOUT 120 LABELS ${name})
endfunction()

# dflockd_server_test(NAME SOURCES...) declares a GoogleTest program that knows the server from outside
# only. For a sanitized server there is that of the release build, which takes long to compile:
# CMakePresets.json tells it of the server.
function(dflockd_server_test name)
  if(DFLOCKD_SANITIZE)
    add_executable(${name} IMPORTED)
    set_property(TARGET ${name} PROPERTY IMPORTED_LOCATION ${PROJECT_SOURCE_DIR}/build/release/${name})
    gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
                         PROPERTIES TIMEOUT 120 LABELS ${name})
    return()
  endif()
  dflockd_test(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE dflockd_test_support)
  target_compile_definitions(${name} PRIVATE DFLOCKD_FAULT_SHIM="$<TARGET_FILE:dflockd_fault_shim>"
                                              DFLOCKD_SOURCE="${PROJECT_SOURCE_DIR}")
  add_dependencies(${name} dflockd dflockd_fault_shim)
endfunction()
