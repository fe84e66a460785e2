# Configures and builds llama.cpp in BUILD; run as `cmake -D... -P` by the target llama_cpp.
# ALWAYS: look for changes even when an earlier build is complete. shadowattn-params.cmake, which
# llama.cmake writes into BUILD, sets SOURCE (the tree), TARGETS (what to build), OUTPUTS (the files
# that must exist then), GENERATOR, MAKE_PROGRAM.

include("${BUILD}/shadowattn-params.cmake")

foreach(name GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_PREFIX)
  unset(ENV{${name}})  # see llama.cmake
endforeach()

# Several binary folders share this build: only one builds, the others wait and find it done.
file(LOCK "${BUILD}/lock" TIMEOUT 7200)

# The stamp holds the folder's path: run paths inside are absolute, so a moved folder is built anew.
set(stamp "${BUILD}/built")
set(done FALSE)
if(EXISTS "${stamp}")
  file(READ "${stamp}" path)
  set(done TRUE)
  if(NOT path STREQUAL BUILD)
    file(REMOVE_RECURSE "${BUILD}/CMakeCache.txt" "${BUILD}/CMakeFiles" "${BUILD}/bin" "${stamp}")
    set(done FALSE)
  endif()
  foreach(output ${OUTPUTS})
    if(NOT EXISTS "${output}")
      set(done FALSE)
    endif()
  endforeach()
endif()
if(done AND NOT ALWAYS)
  file(TOUCH "${stamp}")  # newer than what it depends on
  return()
endif()

set(jobs "$ENV{CMAKE_BUILD_PARALLEL_LEVEL}")
if(jobs STREQUAL "")
  execute_process(COMMAND nproc OUTPUT_VARIABLE jobs OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT jobs MATCHES "^[1-9][0-9]*$")
  set(jobs 1)
endif()

file(REMOVE "${stamp}")
execute_process(COMMAND "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${BUILD}" -G "${GENERATOR}"
  "-DCMAKE_MAKE_PROGRAM=${MAKE_PROGRAM}" -C "${BUILD}/shadowattn-init.cmake" -Wno-dev --no-warn-unused-cli
  RESULT_VARIABLE failed OUTPUT_FILE "${BUILD}/configure.log" ERROR_FILE "${BUILD}/configure.log")
if(failed)
  file(READ "${BUILD}/configure.log" log)
  message(FATAL_ERROR "Configuring llama.cpp (${SOURCE}) failed:\n${log}")
endif()
execute_process(COMMAND "${CMAKE_COMMAND}" --build "${BUILD}" --parallel ${jobs} --target ${TARGETS}
  RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "Building llama.cpp (${SOURCE}) failed, see above. Its build folder is ${BUILD}.")
endif()
foreach(output ${OUTPUTS})
  if(NOT EXISTS "${output}")
    message(FATAL_ERROR "llama.cpp was built, but ${output} is missing. Is ${SOURCE} llama.cpp v0.5.0?")
  endif()
endforeach()
file(WRITE "${stamp}" "${BUILD}")
