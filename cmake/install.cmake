# The library, its headers and the data it predicts from, so that find_package(orrery) works. The archive is exported as
# orrery::archive; orreryConfig.cmake wraps it as orrery::orrery, which links it whole (registrations).
set_target_properties(orrery PROPERTIES EXPORT_NAME archive)
install(TARGETS orrery_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS orrery EXPORT orreryTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET orrery_simgrid)
  install(TARGETS orrery_simgrid LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/orrery)
endif()
install(DIRECTORY sim/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/orrery FILES_MATCHING PATTERN "*.hpp")
install(FILES ${PROJECT_BINARY_DIR}/generated/base/version.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/orrery/base)
install(DIRECTORY models hwprofiles traces DESTINATION ${CMAKE_INSTALL_DATADIR}/orrery)
install(DIRECTORY calibration/engines DESTINATION ${CMAKE_INSTALL_DATADIR}/orrery/calibration)
install(EXPORT orreryTargets NAMESPACE orrery:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/orrery)
include(CMakePackageConfigHelpers)
configure_package_config_file(cmake/orreryConfig.cmake.in ${PROJECT_BINARY_DIR}/orreryConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/orrery)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/orreryConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/orreryConfig.cmake ${PROJECT_BINARY_DIR}/orreryConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/orrery)
