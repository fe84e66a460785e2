# Debian's and Ubuntu's cross compiler for 64-bit Arm (package g++-aarch64-linux-gnu), and
# qemu-aarch64 (package qemu-user) for what is built with it. QEMU_CPU chooses the processor.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# Where the packages put the C library of the target.
set(SHADOWATTN_TARGET_ROOT /usr/aarch64-linux-gnu)
find_program(SHADOWATTN_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
mark_as_advanced(SHADOWATTN_QEMU)
if(SHADOWATTN_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${SHADOWATTN_QEMU} -L ${SHADOWATTN_TARGET_ROOT})
endif()
