# What the project's own CMakeLists.txt files are written with.
#
#   tandem_library(<name> SOURCES <file>... [LINK <target>...])
#       A static library of ours. Names it links become part of its interface.
#   tandem_executable(<name> SOURCES <file>... [LINK <target>...])
#       A program, put into <build>/bin and installed.
#   tandem_unit_test(<module> [SOURCES <file>...] [LINK <target>...])
#       tests/unit/test_<module>.c with cmocka, as ctest "unit/<module>", label unit.
#   tandem_fuzzer(<name> [SOURCES <file>...] [LINK <target>...])
#       tests/fuzz/fuzz_<name>.c, which defines LLVMFuzzerTestOneInput: a libFuzzer program in the preset fuzz, and in
#       all others a program that replays tests/fuzz/corpus/<name>/, as ctest "fuzz/<name>", label fuzz.

# Whether a test's source is there. One that is named but not there is an error, and only a warning where TANDEM_WERROR is
# off, so that a half-written folder does not keep the others from building.
function(tandem_have_source file ret_have)
  set(${ret_have} TRUE PARENT_SCOPE)
  if(NOT EXISTS "${file}")
    set(${ret_have} FALSE PARENT_SCOPE)
    if(TANDEM_WERROR)
      message(SEND_ERROR "${file} is missing")
    else()
      message(WARNING "${file} is missing")
    endif()
  endif()
endfunction()

# How every target of ours is compiled: warnings, instrumentation, hardening; includes from the project's root.
function(tandem_compile_settings target)
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}/include")
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  target_link_libraries(${target} PRIVATE tandem_warnings tandem_hardening tandem_instrumentation)
endfunction()

function(tandem_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC ${arg_LINK})
  tandem_compile_settings(${name})
endfunction()

function(tandem_executable name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINK})
  tandem_compile_settings(${name})
  install(TARGETS ${name} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endfunction()

# Sanitizers are strict in tests: the first finding ends the program, and a leak is a finding.
function(tandem_test_environment test)
  set_tests_properties(${test} PROPERTIES
    TIMEOUT 120
    ENVIRONMENT "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1;UBSAN_OPTIONS=print_stacktrace=1;TANDEM_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()

function(tandem_unit_test module)
  if(NOT BUILD_TESTING)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
  set(target test_${module})
  set(source "${PROJECT_SOURCE_DIR}/tests/unit/test_${module}.c")
  tandem_have_source("${source}" have_source)
  if(NOT have_source)
    return()
  endif()
  add_executable(${target} "${source}" ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE ${arg_LINK} tandem_dep_cmocka)
  target_compile_definitions(${target} PRIVATE TANDEM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  tandem_compile_settings(${target})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  add_test(NAME unit/${module} COMMAND ${target} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  set_tests_properties(unit/${module} PROPERTIES LABELS unit)
  tandem_test_environment(unit/${module})
endfunction()

function(tandem_fuzzer name)
  if(NOT BUILD_TESTING)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
  set(target fuzz_${name})
  set(source "${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_${name}.c")
  set(corpus "${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name}")
  tandem_have_source("${source}" have_source)
  if(NOT have_source)
    return()
  endif()
  add_executable(${target} "${source}" ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE ${arg_LINK})
  tandem_compile_settings(${target})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  if(TANDEM_LIBFUZZER)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    # libFuzzer's own -runs=0 reads the whole corpus once and ends.
    add_test(NAME fuzz/${name} COMMAND ${target} -runs=0 "${corpus}")
  else()
    target_sources(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.c")
    add_test(NAME fuzz/${name} COMMAND ${target} "${corpus}")
  endif()
  set_tests_properties(fuzz/${name} PROPERTIES LABELS fuzz)
  tandem_test_environment(fuzz/${name})
endfunction()
