# llama.cpp v0.5.0: found or fetched at configure time, built once beside our own build folders.
#
# Provides: llama::headers, llama::ggml, llama::llama, llama::common; the target llama_cpp, which
# builds them; SHADOWATTN_LLAMA_BIN, the folder that holds llama.cpp's programs and libraries;
# SHADOWATTN_LLAMA_TREE, its sources.

set(SHADOWATTN_LLAMA_VERSION 0.5.0)
set(SHADOWATTN_LLAMA_COMMIT de3ff815ea7d559ee917f063901b8986f038abc6)
# This npm package carries a git bundle of the complete llama.cpp tree of that version.
set(SHADOWATTN_LLAMA_NPM node-llama-cpp 3.22.1)
set(SHADOWATTN_LLAMA_NPM_SHA512
    6e5b488a9b9699cd76dc7eed30880318a4ac4ab866865418795502e3c5d38d55bb5c624988927209d95333343f2e25a83e4183a5c2f816f883a60c3ba9f4e20f)

if(DEFINED ENV{SHADOWATTN_CACHE_DIR})
  set(shadowattn_cache_default "$ENV{SHADOWATTN_CACHE_DIR}")
elseif(NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
  set(shadowattn_cache_default "$ENV{XDG_CACHE_HOME}/shadowattn")
elseif(NOT "$ENV{HOME}" STREQUAL "")
  set(shadowattn_cache_default "$ENV{HOME}/.cache/shadowattn")
else()
  set(shadowattn_cache_default "${CMAKE_SOURCE_DIR}/build/cache")
endif()
set(SHADOWATTN_CACHE_DIR "${shadowattn_cache_default}" CACHE PATH "Where the fetched llama.cpp tree is kept")
set(SHADOWATTN_LLAMA_BUILD_ROOT "${CMAKE_SOURCE_DIR}/build" CACHE PATH
    "Where llama.cpp is built, in a folder llama-<hash>")
set(SHADOWATTN_LLAMA_CMAKE_ARGS "" CACHE STRING
    "More cache entries for llama.cpp, as NAME=VALUE;NAME=VALUE; they win over ours")

# Git exports these to hooks; inherited, they would point git at our repository instead of llama.cpp's.
foreach(name GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_PREFIX)
  unset(ENV{${name}})
endforeach()

# --- The tree -------------------------------------------------------------------------------------

function(llama_tree_version tree out)
  file(STRINGS "${tree}/CMakeLists.txt" lines REGEX "^set\\(LLAMA_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+\\)")
  string(REGEX REPLACE "[^0-9;]" "" numbers "${lines}")
  string(REPLACE ";" "." version "${numbers}")
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

function(llama_check_user_tree tree)
  foreach(file CMakeLists.txt include/llama.h ggml/include/ggml.h)
    if(NOT EXISTS "${tree}/${file}")
      message(FATAL_ERROR "SHADOWATTN_LLAMA_DIR=${tree} is not a llama.cpp source tree: it has no ${file}. "
        "Give the folder that a checkout of llama.cpp v${SHADOWATTN_LLAMA_VERSION} was made into.")
    endif()
  endforeach()
  llama_tree_version("${tree}" version)
  if(version STREQUAL "")
    set(version "of unknown version")
  endif()
  if(NOT version STREQUAL SHADOWATTN_LLAMA_VERSION)
    message(WARNING "${tree} is llama.cpp ${version}; shadowattn is tested with ${SHADOWATTN_LLAMA_VERSION} only. "
      "It may not build, and the plug-in declines a ggml it does not know.")
  endif()
endfunction()

# True only for a complete, unmodified checkout of the pinned commit.
function(llama_pinned_tree_is_good tree out)
  set(${out} FALSE PARENT_SCOPE)
  if(NOT EXISTS "${tree}/.git")
    return()
  endif()
  # The cache may belong to another user (a container's volume): git would refuse to look.
  set(git "${GIT_EXECUTABLE}" -c "safe.directory=*" -C "${tree}")
  execute_process(COMMAND ${git} rev-parse HEAD
    RESULT_VARIABLE failed OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(failed OR NOT head STREQUAL SHADOWATTN_LLAMA_COMMIT)
    return()
  endif()
  execute_process(COMMAND ${git} diff --quiet HEAD RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(NOT failed)
    set(${out} TRUE PARENT_SCOPE)
  endif()
endfunction()

function(llama_fetch_failed why)
  list(JOIN SHADOWATTN_LLAMA_NPM "@" package)
  list(JOIN SHADOWATTN_LLAMA_NPM "-" file)
  message(FATAL_ERROR "llama.cpp v${SHADOWATTN_LLAMA_VERSION} could not be fetched: ${why}\n"
    "Do one of these, then configure again:\n"
    "  - with a network: install npm (Debian: apt-get install npm); it fetches ${package}\n"
    "  - without: copy ${file}.tgz, made elsewhere by `npm pack ${package}`, into ${SHADOWATTN_CACHE_DIR}\n"
    "  - give a tree of your own: -DSHADOWATTN_LLAMA_DIR=<llama.cpp v${SHADOWATTN_LLAMA_VERSION} source tree>\n"
    "  - do without the plug-in and the command: -DSHADOWATTN_LLAMA=OFF\n")
endfunction()

# Puts the npm package's archive at `out`, in the folder `work`.
function(llama_get_archive work out)
  list(JOIN SHADOWATTN_LLAMA_NPM "@" package)
  list(JOIN SHADOWATTN_LLAMA_NPM "-" name)
  set(archive "${SHADOWATTN_CACHE_DIR}/${name}.tgz")
  if(NOT EXISTS "${archive}")
    find_program(npm npm NO_CACHE)
    if(NOT npm)
      llama_fetch_failed("npm is not installed.")
    endif()
    message(NOTICE "Fetching llama.cpp v${SHADOWATTN_LLAMA_VERSION} (npm package ${package}, 36 MB, once)")
    execute_process(
      COMMAND "${npm}" pack --ignore-scripts --fetch-retries=2 --fetch-retry-mintimeout=1000
              --fetch-retry-maxtimeout=5000 "${package}"
      WORKING_DIRECTORY "${work}" RESULT_VARIABLE failed OUTPUT_VARIABLE log ERROR_VARIABLE log)
    set(archive "${work}/${name}.tgz")
    if(failed OR NOT EXISTS "${archive}")
      string(STRIP "${log}" log)
      llama_fetch_failed("`npm pack ${package}` failed (no network?). It said:\n${log}\n")
    endif()
  endif()
  file(SHA512 "${archive}" found)
  if(NOT found STREQUAL SHADOWATTN_LLAMA_NPM_SHA512)
    llama_fetch_failed("${archive} has the wrong SHA-512 checksum (${found}). It was damaged or replaced; not used.")
  endif()
  set(${out} "${archive}" PARENT_SCOPE)
endfunction()

# Fetches the pinned tree unless it is there. Made under a temporary name and renamed, so that an
# interruption leaves no half tree; locked, so that two configure runs do not fetch at once.
function(llama_fetch_pinned_tree out)
  find_package(Git QUIET)
  if(NOT GIT_EXECUTABLE)
    llama_fetch_failed("git is not installed (Debian: apt-get install git).")
  endif()
  string(SUBSTRING "${SHADOWATTN_LLAMA_COMMIT}" 0 12 short)
  set(tree "${SHADOWATTN_CACHE_DIR}/llama.cpp-${short}")
  set(${out} "${tree}" PARENT_SCOPE)
  llama_pinned_tree_is_good("${tree}" good)
  if(good)
    return()
  endif()

  file(MAKE_DIRECTORY "${SHADOWATTN_CACHE_DIR}")
  file(LOCK "${SHADOWATTN_CACHE_DIR}/lock" GUARD FUNCTION TIMEOUT 1800 RESULT_VARIABLE lock_error)
  if(lock_error)
    llama_fetch_failed("cannot lock ${SHADOWATTN_CACHE_DIR}/lock: ${lock_error}.")
  endif()
  llama_pinned_tree_is_good("${tree}" good)  # another run may have fetched it meanwhile
  if(good)
    return()
  endif()

  set(work "${SHADOWATTN_CACHE_DIR}/fetch.tmp")
  file(REMOVE_RECURSE "${work}")
  file(MAKE_DIRECTORY "${work}")
  llama_get_archive("${work}" archive)
  file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${work}" PATTERNS "package/llama/gitRelease.bundle")
  execute_process(
    COMMAND "${GIT_EXECUTABLE}" -c core.autocrlf=false -c advice.detachedHead=false clone --quiet --template=
            package/llama/gitRelease.bundle tree
    WORKING_DIRECTORY "${work}" RESULT_VARIABLE failed OUTPUT_VARIABLE log ERROR_VARIABLE log)
  llama_pinned_tree_is_good("${work}/tree" good)
  if(failed OR NOT good)
    llama_fetch_failed("git clone of the package's bundle did not give commit ${SHADOWATTN_LLAMA_COMMIT}:\n${log}\n")
  endif()
  if(EXISTS "${tree}")
    message(WARNING "${tree} was damaged or modified; it is replaced. To use a llama.cpp of your own, "
      "give -DSHADOWATTN_LLAMA_DIR=<tree>.")
    file(REMOVE_RECURSE "${tree}")
  endif()
  file(RENAME "${work}/tree" "${tree}")
  file(REMOVE_RECURSE "${work}")
endfunction()

# --- Its flags ------------------------------------------------------------------------------------

option(SHADOWATTN_LLAMA_ALL_VARIANTS
  "Build llama.cpp's CPU backend for every processor, chosen at run time, instead of for this one"
  ${CMAKE_CROSSCOMPILING})

# Run-time loaded backends exclude GGML_NATIVE, so the features of this machine are spelled out, as
# the compiler reports them: the dense baseline must be as fast as llama.cpp can be here.
function(llama_cpu_flags out)
  if(SHADOWATTN_LLAMA_ALL_VARIANTS)
    set(flags GGML_CPU_ALL_VARIANTS=ON)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)" AND CMAKE_SYSTEM_NAME STREQUAL Linux)
      list(APPEND flags
        "CMAKE_PROJECT_ggml_INCLUDE=${CMAKE_CURRENT_FUNCTION_LIST_DIR}/llama_without_sme.cmake")
    endif()
    set(${out} "${flags}" PARENT_SCOPE)
    return()
  endif()
  if(CMAKE_CROSSCOMPILING)
    set(macros "")
  else()
    set(native -march=native)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)")
      set(native -mcpu=native)
    endif()
    execute_process(COMMAND ${CMAKE_CXX_COMPILER} ${native} -dM -E -x c++ /dev/null
      OUTPUT_VARIABLE macros ERROR_QUIET)
  endif()
  set(flags "")
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|i.86)")
    # GGML option : every macro it stands for
    foreach(row "SSE42:SSE4_2" "AVX:AVX" "F16C:F16C" "FMA:FMA" "BMI2:BMI2" "AVX2:AVX2" "AVX_VNNI:AVXVNNI"
                "AVX512:AVX512F,AVX512CD,AVX512VL,AVX512DQ,AVX512BW" "AVX512_VBMI:AVX512VBMI"
                "AVX512_VNNI:AVX512VNNI" "AVX512_BF16:AVX512BF16"
                "AMX_TILE:AMX_TILE" "AMX_INT8:AMX_INT8" "AMX_BF16:AMX_BF16")
      string(REGEX MATCH "^([^:]+):(.+)$" unused "${row}")
      set(option ${CMAKE_MATCH_1})
      string(REPLACE "," ";" features "${CMAKE_MATCH_2}")
      set(value ON)
      foreach(feature ${features})
        if(NOT macros MATCHES "#define __${feature}__ 1")
          set(value OFF)
        endif()
      endforeach()
      list(APPEND flags GGML_${option}=${value})
    endforeach()
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)")
    set(arch armv8-a)
    set(features DOTPROD FP16_VECTOR_ARITHMETIC MATMUL_INT8 BF16_VECTOR_ARITHMETIC SVE SVE2)
    set(names dotprod fp16 i8mm bf16 sve sve2)
    foreach(feature name IN ZIP_LISTS features names)
      if(macros MATCHES "#define __ARM_FEATURE_${feature} 1")
        string(REPLACE armv8-a armv8.2-a arch "${arch}")
        string(APPEND arch "+${name}")
      endif()
    endforeach()
    list(APPEND flags GGML_CPU_ARM_ARCH=${arch})
  endif()
  set(${out} "${flags}" PARENT_SCOPE)
endfunction()

# --- The build ------------------------------------------------------------------------------------

if(SHADOWATTN_LLAMA_DIR)
  get_filename_component(llama_tree "${SHADOWATTN_LLAMA_DIR}" ABSOLUTE BASE_DIR "${CMAKE_BINARY_DIR}")
  llama_check_user_tree("${llama_tree}")
else()
  llama_fetch_pinned_tree(llama_tree)
endif()

llama_cpu_flags(llama_cpu)
set(llama_toolchain "")
if(CMAKE_TOOLCHAIN_FILE)
  set(llama_toolchain "CMAKE_TOOLCHAIN_FILE=${CMAKE_TOOLCHAIN_FILE}")
endif()
set(llama_movable "")
if(SHADOWATTN_LLAMA_ALL_VARIANTS)
  # To be packed by scripts/dist. Not CMAKE_BUILD_RPATH_USE_ORIGIN: CMake ends such run paths with an
  # empty entry, which is the current folder.
  set(llama_movable CMAKE_BUILD_WITH_INSTALL_RPATH=ON CMAKE_INSTALL_RPATH=$ORIGIN)
endif()
set(llama_flags
  CMAKE_BUILD_TYPE=Release
  BUILD_SHARED_LIBS=ON
  GGML_BACKEND_DL=ON
  GGML_NATIVE=OFF
  ${llama_cpu}
  LLAMA_BUILD_TESTS=ON  # for test-backend-ops
  LLAMA_BUILD_EXAMPLES=OFF
  LLAMA_BUILD_SERVER=OFF
  LLAMA_BUILD_APP=OFF
  LLAMA_BUILD_UI=OFF
  LLAMA_USE_PREBUILT_UI=OFF
  LLAMA_OPENSSL=OFF
  LLAMA_SUBPROCESS=OFF
  CMAKE_C_COMPILER=${CMAKE_C_COMPILER}
  CMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}
  ${llama_toolchain}
  ${llama_movable}
  ${SHADOWATTN_LLAMA_CMAKE_ARGS})

# The folder's name follows from everything that shapes the result: binary folders of equal flags
# share one build, and a change of flags never reuses a wrong one.
string(SHA1 llama_hash "${llama_tree}|${llama_flags}|${CMAKE_GENERATOR}|${CMAKE_CXX_COMPILER_VERSION}")
string(SUBSTRING "${llama_hash}" 0 10 llama_hash)
set(llama_build "${SHADOWATTN_LLAMA_BUILD_ROOT}/llama-${llama_hash}")
set(SHADOWATTN_LLAMA_BIN "${llama_build}/bin")
set(SHADOWATTN_LLAMA_TREE "${llama_tree}")

set(llama_init "")
foreach(flag ${llama_flags})
  string(REGEX MATCH "^([^=]+)=(.*)$" unused "${flag}")
  string(APPEND llama_init "set(${CMAKE_MATCH_1} \"${CMAKE_MATCH_2}\" CACHE STRING \"\" FORCE)\n")
endforeach()
if(SHADOWATTN_CCACHE)
  # The base dir makes a build in a fresh clone hit the cache of an earlier one.
  set(launcher "${CMAKE_COMMAND};-E;env;CCACHE_BASEDIR=${llama_build};${SHADOWATTN_CCACHE}")
  foreach(language C CXX)
    string(APPEND llama_init "set(CMAKE_${language}_COMPILER_LAUNCHER \"${launcher}\" CACHE STRING \"\" FORCE)\n")
  endforeach()
endif()
file(CONFIGURE OUTPUT "${llama_build}/shadowattn-init.cmake" CONTENT "${llama_init}" @ONLY)

set(llama_programs llama-bench llama-completion llama-perplexity llama-tokenize llama-quantize test-backend-ops)
set(llama_libraries llama llama-common ggml ggml-base)
if(NOT SHADOWATTN_LLAMA_ALL_VARIANTS)
  list(APPEND llama_libraries ggml-cpu)
endif()
set(llama_outputs ${llama_programs})
foreach(library ${llama_libraries})
  list(APPEND llama_outputs ${CMAKE_SHARED_LIBRARY_PREFIX}${library}${CMAKE_SHARED_LIBRARY_SUFFIX})
endforeach()
list(TRANSFORM llama_outputs PREPEND "${SHADOWATTN_LLAMA_BIN}/")

file(CONFIGURE OUTPUT "${llama_build}/shadowattn-params.cmake" @ONLY CONTENT "\
set(SOURCE \"${llama_tree}\")
set(GENERATOR \"${CMAKE_GENERATOR}\")
set(MAKE_PROGRAM \"${CMAKE_MAKE_PROGRAM}\")
set(TARGETS \"${llama_programs}\")
set(OUTPUTS \"${llama_outputs}\")
")
set(llama_command "${CMAKE_COMMAND}" "-DBUILD=${llama_build}" "-DALWAYS=$<BOOL:${SHADOWATTN_LLAMA_DIR}>"
    -P "${CMAKE_CURRENT_LIST_DIR}/llama_build.cmake")
if(SHADOWATTN_LLAMA_DIR)
  # The user may edit the tree: let its own build system see each time what is to be done.
  add_custom_target(llama_cpp
    COMMAND ${llama_command}
    BYPRODUCTS ${llama_outputs} COMMENT "Building llama.cpp (${llama_tree})" VERBATIM USES_TERMINAL)
else()
  add_custom_command(OUTPUT "${llama_build}/built"
    COMMAND ${llama_command}
    BYPRODUCTS ${llama_outputs} DEPENDS "${llama_build}/shadowattn-init.cmake"
    COMMENT "Building llama.cpp v${SHADOWATTN_LLAMA_VERSION} (once, several minutes)" VERBATIM USES_TERMINAL)
  add_custom_target(llama_cpp DEPENDS "${llama_build}/built")
endif()

# For scripts and people: where the llama.cpp programs of this binary folder are.
file(WRITE "${CMAKE_BINARY_DIR}/llama-bin-dir.txt" "${SHADOWATTN_LLAMA_BIN}\n")
message(STATUS "llama.cpp: ${llama_tree}, built in ${llama_build}")

# --- What the other folders link ------------------------------------------------------------------

add_library(llama::headers INTERFACE IMPORTED GLOBAL)
target_include_directories(llama::headers INTERFACE
  "${llama_tree}/include" "${llama_tree}/ggml/include" "${llama_tree}/ggml/src")  # src: ggml-backend-impl.h

# shadowattn_import_llama(<name> <library> <what it links>...)
function(shadowattn_import_llama name library)
  add_library(llama::${name} SHARED IMPORTED GLOBAL)
  set_target_properties(llama::${name} PROPERTIES
    IMPORTED_LOCATION "${SHADOWATTN_LLAMA_BIN}/${CMAKE_SHARED_LIBRARY_PREFIX}${library}${CMAKE_SHARED_LIBRARY_SUFFIX}"
    INTERFACE_LINK_LIBRARIES "llama::headers;${ARGN}")
  add_dependencies(llama::${name} llama_cpp)
endfunction()
shadowattn_import_llama(ggml_base ggml-base)
shadowattn_import_llama(ggml ggml llama::ggml_base)
shadowattn_import_llama(llama llama llama::ggml)
shadowattn_import_llama(common llama-common llama::llama)
# llama.cpp's helpers for its own programs (Jinja chat templates, samplers); no stable API.
target_include_directories(llama::common INTERFACE "${llama_tree}/common" "${llama_tree}/vendor")
