# Does every header compile alone? One generated .cpp per header of sim/ and calibration/, in a target of its own that
# the test "headers compile alone" builds.
file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
  ${PROJECT_SOURCE_DIR}/sim/*.hpp ${PROJECT_SOURCE_DIR}/calibration/*.hpp)
set(alone)
foreach(header ${headers})
  string(REPLACE "/" "_" unit ${header})
  string(REGEX REPLACE "^sim/" "" included ${header})
  set(file ${CMAKE_CURRENT_BINARY_DIR}/headers/${unit}.cpp)
  file(GENERATE OUTPUT ${file} CONTENT "#include \"${included}\"\n#include \"${included}\"  // twice: the guard works\n")
  list(APPEND alone ${file})
endforeach()
add_library(headers OBJECT EXCLUDE_FROM_ALL ${alone})
target_compile_options(headers PRIVATE -O0 -g0)
target_include_directories(headers PRIVATE ${PROJECT_SOURCE_DIR})
target_include_directories(headers SYSTEM PRIVATE ${ORRERY_PROTOZERO_INCLUDE})
target_link_libraries(headers PRIVATE orrery orrery_flags)
add_test(NAME "headers compile alone"
  COMMAND ${CMAKE_COMMAND} --build ${PROJECT_BINARY_DIR} --target headers)
set_tests_properties("headers compile alone" PROPERTIES RUN_SERIAL ON)
