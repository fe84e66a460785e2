# Programs of another processor: CMake puts the emulator before the tests that are programs; scripts
# get a file to start in the program's place.

# shadowattn_runnable(<variable> <name> <program>): sets the variable to a file that runs `program`
# here: itself, or a script of that name that calls the emulator.
function(shadowattn_runnable variable name program)
  if(NOT CMAKE_CROSSCOMPILING_EMULATOR)
    set(${variable} "${program}" PARENT_SCOPE)
    return()
  endif()
  set(script "${CMAKE_BINARY_DIR}/emulated/${name}")
  list(JOIN CMAKE_CROSSCOMPILING_EMULATOR " " emulator)
  file(GENERATE OUTPUT "${script}"
    CONTENT "#!/bin/sh\nexec ${emulator} \"${program}\" \"$@\"\n"
    FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
                     WORLD_READ WORLD_EXECUTE)
  set(${variable} "${script}" PARENT_SCOPE)
endfunction()
