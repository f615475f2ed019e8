# The warnings every file of ours is compiled with: target tandem_warnings.
#
# They are errors only where TANDEM_WERROR is on (the presets of developers and CI): a newer compiler with a new warning
# must not stop somebody who only builds a package.

option(TANDEM_WERROR "Treat compiler warnings as errors" OFF)

add_library(tandem_warnings INTERFACE)
target_compile_options(tandem_warnings INTERFACE
  -Wall
  -Wextra
  -Wpedantic
  -Wshadow
  -Wconversion
  -Wsign-conversion
  -Wstrict-prototypes
  -Wmissing-prototypes
  -Wformat=2
  -Wundef
  -Wcast-qual
  -Wvla
  -Wimplicit-fallthrough
  -Wwrite-strings
  $<$<BOOL:${TANDEM_WERROR}>:-Werror>)
