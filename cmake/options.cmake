# Language, warnings, floating point, output folders: everything that holds for all our targets.
# Targets link `shadowattn_options` privately; nothing here reaches llama.cpp or a user of the library.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or RelWithDebInfo" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
# The static engine is linked into the plug-in, a shared library.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
# Relative run paths: the build folder and an installation may be moved.
set(CMAKE_BUILD_RPATH_USE_ORIGIN ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib")

# Found once, used here and for llama.cpp. Base dir and no hash of the folder let a fresh clone elsewhere hit the cache,
# builds with debug information included.
find_program(SHADOWATTN_CCACHE ccache)
mark_as_advanced(SHADOWATTN_CCACHE)
if(SHADOWATTN_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
    ${SHADOWATTN_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()

add_library(shadowattn_options INTERFACE)
target_compile_features(shadowattn_options INTERFACE cxx_std_20)
target_compile_options(shadowattn_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wcast-qual
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
  # GCC 12 sees overlaps in its own std::string (PR 105651).
  $<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>
  $<$<BOOL:${SHADOWATTN_WERROR}>:-Werror>
  # One rounding per operation unless the source says fma: the scalar reference and every ISA must
  # select the same tokens, bit for bit.
  -ffp-contract=off)

# Sanitizers cover every target, also those that forget to link shadowattn_options: mixing
# instrumented and plain code gives false reports.
if(SHADOWATTN_SANITIZE)
  add_compile_options(-fsanitize=${SHADOWATTN_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SHADOWATTN_SANITIZE})
  # GCC's flow analysis misfires on instrumented code.
  target_compile_options(shadowattn_options INTERFACE -Wno-maybe-uninitialized)
endif()
