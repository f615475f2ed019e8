# Instrumented builds: target tandem_instrumentation, filled by two cache variables that the presets set.
#
#   TANDEM_SANITIZE   "", "address,undefined", "thread", "memory" (clang)
#   TANDEM_COVERAGE   line and branch counters for gcov
#   TANDEM_LIBFUZZER  fuzz targets become libFuzzer programs (clang); without it they replay their corpus in ctest

set(TANDEM_SANITIZE "" CACHE STRING "Sanitizers to build with, as for -fsanitize=")
option(TANDEM_COVERAGE "Count executed lines and branches (gcov)" OFF)
option(TANDEM_LIBFUZZER "Build the fuzz targets as libFuzzer programs" OFF)

add_library(tandem_instrumentation INTERFACE)

if(TANDEM_LIBFUZZER AND NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "TANDEM_LIBFUZZER needs clang, the compiler is ${CMAKE_C_COMPILER_ID}; "
    "use the preset fuzz, and `deploy/setup --with-fuzz` to install clang.")
endif()

if(TANDEM_SANITIZE)
  set(instrument "-fsanitize=${TANDEM_SANITIZE}")
  target_compile_options(tandem_instrumentation INTERFACE
    "${instrument}" -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(tandem_instrumentation INTERFACE "${instrument}")
endif()

if(TANDEM_LIBFUZZER)
  target_compile_options(tandem_instrumentation INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(tandem_instrumentation INTERFACE -fsanitize=fuzzer-no-link)
endif()

if(TANDEM_COVERAGE)
  target_compile_options(tandem_instrumentation INTERFACE --coverage)
  target_link_options(tandem_instrumentation INTERFACE --coverage)
endif()
