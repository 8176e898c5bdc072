# Two interface targets carry the flags; four functions make every target in the tree.
#
# SHEAF_UNITY compiles up to eight sources of a target at once. ALONE names those among SOURCES that
# cannot be: what they have in an unnamed namespace is called as in one of the others.
set(CMAKE_UNITY_BUILD ${SHEAF_UNITY})
set(CMAKE_UNITY_BUILD_BATCH_SIZE 8)
function(sheaf_compile_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

add_library(sheaf_warnings INTERFACE)
target_compile_options(sheaf_warnings INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
                                                -Woverloaded-virtual -Wno-missing-field-initializers)
if(SHEAF_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # The included files are sources: what they have in unnamed namespaces is nobody else's.
  target_compile_options(sheaf_warnings INTERFACE -Wno-subobject-linkage)
endif()
if(SHEAF_WERROR)
  target_compile_options(sheaf_warnings INTERFACE -Werror)
endif()

add_library(sheaf_sanitize INTERFACE)
if(SHEAF_SANITIZE STREQUAL "address")
  set(_flags -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
elseif(SHEAF_SANITIZE STREQUAL "thread")
  set(_flags -fsanitize=thread -fno-omit-frame-pointer)
endif()
if(_flags)
  target_compile_options(sheaf_sanitize INTERFACE ${_flags})
  target_link_options(sheaf_sanitize INTERFACE ${_flags})
endif()
if(SHEAF_FUZZ)
  target_compile_options(sheaf_sanitize INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(sheaf_sanitize INTERFACE -fsanitize=fuzzer-no-link)
endif()

# sheaf_library(NAME SOURCES ... [ALONE ...] [PUBLIC deps ...] [PRIVATE deps ...]): static library sheaf_NAME, alias sheaf::NAME.
function(sheaf_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;ALONE;PUBLIC;PRIVATE" ${ARGN})
  sheaf_compile_alone(${ARG_ALONE})
  add_library(sheaf_${name} STATIC ${ARG_SOURCES})
  add_library(sheaf::${name} ALIAS sheaf_${name})
  target_include_directories(sheaf_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(sheaf_${name} PUBLIC ${ARG_PUBLIC} sheaf_sanitize
                                      PRIVATE ${ARG_PRIVATE} sheaf_warnings)
endfunction()

# sheaf_binary(NAME SOURCES ... DEPS ...): an executable in bin/.
function(sheaf_binary name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} sheaf_sanitize sheaf_warnings)
endfunction()

# sheaf_test(NAME SOURCES ... DEPS ... [ALONE ...] [LABELS ...] [TIMEOUT s]): one GoogleTest program, one ctest entry.
function(sheaf_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;ALONE;DEPS;LABELS" ${ARGN})
  sheaf_compile_alone(${ARG_ALONE})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main
                                        sheaf_sanitize sheaf_warnings)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()

# sheaf_bench(NAME SOURCES ... DEPS ...): one Google Benchmark program, not run by ctest.
function(sheaf_bench name)
  if(NOT SHEAF_BENCH)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} benchmark::benchmark sheaf_sanitize sheaf_warnings)
endfunction()

# sheaf_fuzzer(NAME SOURCES ... DEPS ...): one libFuzzer program; built only with SHEAF_FUZZ. The
# target `fuzzers` builds them all.
if(SHEAF_FUZZ)
  add_custom_target(fuzzers)
endif()
function(sheaf_fuzzer name)
  if(NOT SHEAF_FUZZ)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} sheaf_sanitize sheaf_warnings)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers ${name})
endfunction()
