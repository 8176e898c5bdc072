# `cmake --install`: the programs, the client library with its header, a CMake package and a
# pkg-config file. Nothing in what is installed names the prefix, so the tree may be moved as a whole;
# `sheaf` finds the daemons beside itself.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS sheaf sheaf-meta sheaf-storage sheaf-fuse
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

install(TARGETS sheaf_shared EXPORT sheaf
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# <sheaf/sheaf.h> finds "common/..." beside itself, as quoted includes do: none of our folders has to
# be on a user's include path.
install(FILES ${CMAKE_SOURCE_DIR}/client/sheaf.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sheaf)
install(FILES ${CMAKE_SOURCE_DIR}/common/ids.h ${CMAKE_SOURCE_DIR}/common/result.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sheaf/common)

set(_package ${CMAKE_INSTALL_LIBDIR}/cmake/sheaf)
install(EXPORT sheaf NAMESPACE sheaf:: FILE sheaf-targets.cmake DESTINATION ${_package})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/sheaf-config.cmake.in
                              ${CMAKE_BINARY_DIR}/generated/sheaf-config.cmake
                              INSTALL_DESTINATION ${_package})
# Before 1.0 each minor version may change the interface.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/generated/sheaf-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/generated/sheaf-config.cmake
              ${CMAKE_BINARY_DIR}/generated/sheaf-config-version.cmake
        DESTINATION ${_package})

file(RELATIVE_PATH SHEAF_PREFIX_FROM_PC
     ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${CMAKE_CURRENT_LIST_DIR}/sheaf.pc.in ${CMAKE_BINARY_DIR}/generated/sheaf.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/generated/sheaf.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
