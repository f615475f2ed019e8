# Compiler and linker flags that make a mistake harder to exploit: target tandem_hardening, filled when TANDEM_HARDENING
# is on (preset release). The list is the OpenSSF guide's for C; each flag is probed, since compilers differ by version.

include(CheckCCompilerFlag)
include(CheckLinkerFlag)

option(TANDEM_HARDENING "Compile and link with hardening flags" OFF)

add_library(tandem_hardening INTERFACE)

function(tandem_harden_compile flag)
  string(MAKE_C_IDENTIFIER "TANDEM_HAS${flag}" probe)
  # A compiler accepts an unknown -Wno- or -f flag with a warning only; -Werror makes the probe tell.
  set(CMAKE_REQUIRED_FLAGS "-Werror -O2")
  check_c_compiler_flag("${flag}" ${probe})
  if(${probe})
    target_compile_options(tandem_hardening INTERFACE "${flag}")
  endif()
endfunction()

function(tandem_harden_link flag)
  string(MAKE_C_IDENTIFIER "TANDEM_HAS${flag}" probe)
  check_linker_flag(C "${flag}" ${probe})
  if(${probe})
    target_link_options(tandem_hardening INTERFACE "${flag}")
  endif()
endfunction()

if(TANDEM_HARDENING)
  # One option, two flags: a distribution's own default level has to go before ours is set.
  set(CMAKE_REQUIRED_FLAGS "-Werror -O2")
  check_c_compiler_flag("-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3" TANDEM_HAS_FORTIFY_SOURCE_3)
  unset(CMAKE_REQUIRED_FLAGS)
  if(TANDEM_HAS_FORTIFY_SOURCE_3)
    target_compile_options(tandem_hardening INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
  endif()

  foreach(flag IN ITEMS
      -Wtrampolines
      -Wbidi-chars=any
      -Werror=format-security
      -Werror=implicit
      -Werror=incompatible-pointer-types
      -Werror=int-conversion
      -fstack-clash-protection
      -fstack-protector-strong
      -fcf-protection=full
      -mbranch-protection=standard
      -fstrict-flex-arrays=3
      -ftrivial-auto-var-init=zero
      -fzero-init-padding-bits=all
      -fno-delete-null-pointer-checks
      -fno-strict-overflow
      -fno-strict-aliasing
      -fexceptions)
    tandem_harden_compile("${flag}")
  endforeach()
  foreach(flag IN ITEMS
      LINKER:-z,relro
      LINKER:-z,now
      LINKER:-z,noexecstack
      LINKER:-z,nodlopen)
    tandem_harden_link("${flag}")
  endforeach()

  include(CheckPIESupported)
  check_pie_supported(LANGUAGES C)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)

  # The same source gives the same binary, wherever it was checked out.
  target_compile_options(tandem_hardening INTERFACE "-ffile-prefix-map=${CMAKE_SOURCE_DIR}=.")
endif()
