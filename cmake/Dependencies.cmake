# Every library from outside, found by pkg-config, as one interface target each: tandem_dep_<name>.
#
# librdkafka has to be 2.8 or newer, which Debian 12 does not have. deploy/setup builds it there into a prefix of the
# project's own, which is looked into first; programs then find the library by their RPATH.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

if(DEFINED ENV{TANDEM_CACHE})
  set(tandem_cache_default "$ENV{TANDEM_CACHE}")
else()
  set(tandem_cache_default "$ENV{HOME}/.cache/tandem")
endif()
set(TANDEM_CACHE_DIR "${tandem_cache_default}" CACHE PATH "Where deploy/setup keeps what it builds and downloads")
set(TANDEM_RDKAFKA_PREFIX "${TANDEM_CACHE_DIR}/librdkafka" CACHE PATH
  "Prefix of a private librdkafka; the system's is used when there is none")

set(tandem_missing "")

# tandem_dependency(<name> <pkg-config module[ condition]>...)
function(tandem_dependency name)
  pkg_check_modules(TANDEM_DEP_${name} QUIET IMPORTED_TARGET ${ARGN})
  add_library(tandem_dep_${name} INTERFACE)
  if(TANDEM_DEP_${name}_FOUND)
    target_link_libraries(tandem_dep_${name} INTERFACE PkgConfig::TANDEM_DEP_${name})
  else()
    list(JOIN ARGN ", " wanted)
    set(tandem_missing "${tandem_missing}\n  ${wanted}" PARENT_SCOPE)
  endif()
endfunction()

tandem_dependency(event libevent_core libevent_extra libevent_openssl)
tandem_dependency(curl libcurl>=7.88)
tandem_dependency(jansson jansson>=2.14)
tandem_dependency(pq libpq)
tandem_dependency(openssl openssl>=3.0)
tandem_dependency(yaml yaml-0.1)
tandem_dependency(lmdb lmdb)
if(BUILD_TESTING)
  tandem_dependency(cmocka cmocka)
endif()

if(EXISTS "${TANDEM_RDKAFKA_PREFIX}/lib/pkgconfig/rdkafka.pc")
  set(saved_pkg_config_path "$ENV{PKG_CONFIG_PATH}")
  set(ENV{PKG_CONFIG_PATH} "${TANDEM_RDKAFKA_PREFIX}/lib/pkgconfig:${saved_pkg_config_path}")
  tandem_dependency(rdkafka rdkafka>=2.8)
  set(ENV{PKG_CONFIG_PATH} "${saved_pkg_config_path}")
  set(CMAKE_BUILD_RPATH "${TANDEM_RDKAFKA_PREFIX}/lib")
  # A home directory is no place for what others run: an installation takes the library with it.
  option(TANDEM_INSTALL_RDKAFKA "Install the private librdkafka beside the programs, which find it there" ON)
  if(TANDEM_INSTALL_RDKAFKA)
    set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib/tandem")
    install(FILES "${TANDEM_RDKAFKA_PREFIX}/lib/librdkafka.so.1" DESTINATION lib/tandem)
  endif()
else()
  tandem_dependency(rdkafka rdkafka>=2.8)
endif()

if(tandem_missing)
  message(FATAL_ERROR "These libraries are missing or too old (names and versions as pkg-config knows them):"
    "${tandem_missing}\nRun deploy/setup, which installs all of them, then configure again.")
endif()
