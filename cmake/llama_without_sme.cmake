# Included by llama.cpp's build after project("ggml"). Its CPU backends for processors with SME ask
# for flags that GCC has from version 14 on. With those of GCC 12 their SME code is left out; they
# are still chosen on such processors only, and use SVE there.

include(CheckCXXCompilerFlag)
check_cxx_compiler_flag(-march=armv9.2-a+sme SHADOWATTN_COMPILER_HAS_SME)

function(shadowattn_drop_sme)
  foreach(variant 1 2)
    get_target_property(flags ggml-cpu-armv9.2_${variant} COMPILE_OPTIONS)
    string(REPLACE "+sme" "" flags "${flags}")
    string(REPLACE "armv9.2-a" "armv9-a" flags "${flags}")
    set_target_properties(ggml-cpu-armv9.2_${variant} PROPERTIES COMPILE_OPTIONS "${flags}")
  endforeach()
endfunction()

if(NOT SHADOWATTN_COMPILER_HAS_SME)
  # When all targets are there.
  cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL shadowattn_drop_sme)
endif()
