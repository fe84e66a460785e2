# The library for other projects: archive, headers, a CMake package and a pkg-config file. A component
# of its own, which the archives for users leave out.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/shadowattn)
install(TARGETS shadowattn EXPORT shadowattn-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/shadowattn
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(EXPORT shadowattn-targets NAMESPACE shadowattn:: DESTINATION ${package_dir} COMPONENT development)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/shadowattn-config.cmake.in
  ${PROJECT_BINARY_DIR}/shadowattn-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/shadowattn-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/shadowattn-config.cmake
  ${PROJECT_BINARY_DIR}/shadowattn-config-version.cmake DESTINATION ${package_dir} COMPONENT development)

configure_file(${CMAKE_CURRENT_LIST_DIR}/shadowattn.pc.in ${PROJECT_BINARY_DIR}/shadowattn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/shadowattn.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
