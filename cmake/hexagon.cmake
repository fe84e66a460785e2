# The program of the device `hexagon`: hexagon/*.c for Hexagon V68 with HVX, no C library, run by
# qemu-hexagon. CMake knows one C compiler per build, so this is a custom command. Sets
# SHADOWATTN_HEXAGON_PROGRAM to the file it makes, or to nothing when no compiler can.

find_program(SHADOWATTN_HEXAGON_CLANG NAMES clang-19 clang-21 clang-20 clang-18 clang
  DOC "A clang with the Hexagon target, and lld of the same version")
mark_as_advanced(SHADOWATTN_HEXAGON_CLANG)

set(hexagon_flags --target=hexagon-unknown-linux-musl -mcpu=hexagonv68 -mhvx -mhvx-length=128b
  -std=c11 -O2 -G0 -ffreestanding -fno-builtin
  # Operands are bytes that vectors and registers are loaded from.
  -fno-strict-aliasing
  -Wall -Wextra -Wconversion -Wshadow $<$<BOOL:${SHADOWATTN_WERROR}>:-Werror>)

set(SHADOWATTN_HEXAGON_PROGRAM "")
if(SHADOWATTN_HEXAGON_CLANG AND NOT DEFINED SHADOWATTN_HEXAGON_CLANG_WORKS)
  set(probe "${CMAKE_BINARY_DIR}/CMakeFiles/hexagon-probe")
  file(WRITE ${probe}.c "#include <hvx_hexagon_protos.h>\nvoid _start(void) {}\n")
  execute_process(COMMAND ${SHADOWATTN_HEXAGON_CLANG} --target=hexagon-unknown-linux-musl
      -mcpu=hexagonv68 -mhvx -mhvx-length=128b -include hexagon_types.h -ffreestanding -nostdlib
      -static -fuse-ld=lld ${probe}.c -o ${probe}
    RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(failed EQUAL 0)
    set(SHADOWATTN_HEXAGON_CLANG_WORKS ON CACHE INTERNAL "")
  endif()
endif()

if(SHADOWATTN_HEXAGON_CLANG_WORKS)
  set(SHADOWATTN_HEXAGON_PROGRAM ${CMAKE_BINARY_DIR}/lib/shadowattn-hexagon)
  set(hexagon_sources main.c pilot_hvx.c service.c)
  list(TRANSFORM hexagon_sources PREPEND ${CMAKE_SOURCE_DIR}/hexagon/)
  file(GLOB hexagon_headers CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/hexagon/*.h")
  add_custom_command(OUTPUT ${SHADOWATTN_HEXAGON_PROGRAM}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/lib
    COMMAND ${SHADOWATTN_HEXAGON_CLANG} ${hexagon_flags} -nostdlib -static -fuse-ld=lld
      ${hexagon_sources} -o ${SHADOWATTN_HEXAGON_PROGRAM}
    DEPENDS ${hexagon_sources} ${hexagon_headers}
    COMMENT "Building the Hexagon program"
    COMMAND_EXPAND_LISTS VERBATIM)
  add_custom_target(shadowattn_hexagon_program ALL DEPENDS ${SHADOWATTN_HEXAGON_PROGRAM})
  # Beside the plug-in, and where the command's ../lib is.
  install(PROGRAMS ${SHADOWATTN_HEXAGON_PROGRAM} DESTINATION lib COMPONENT command)
else()
  message(STATUS "No clang with the Hexagon target and lld (install clang-19 lld-19): "
    "the device `hexagon` will not be available")
endif()
