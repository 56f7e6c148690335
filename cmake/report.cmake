# The page of reports (tools/report/dist/report.html, built there by npm and committed) as string literals that
# sim/report includes: nobody needs npm to build orrery. Pieces, because compilers limit the length of a literal.
set(page ${PROJECT_SOURCE_DIR}/tools/report/dist/report.html)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page})
file(READ ${page} rest)
set(literals "")
while(NOT rest STREQUAL "")
  string(SUBSTRING "${rest}" 0 8000 piece)
  string(LENGTH "${piece}" length)
  string(SUBSTRING "${rest}" ${length} -1 rest)
  string(APPEND literals "R\"orrery(${piece})orrery\",\n")
endwhile()
file(WRITE ${PROJECT_BINARY_DIR}/report_template.inc.new "${literals}")
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/generated/report)
file(COPY_FILE ${PROJECT_BINARY_DIR}/report_template.inc.new
  ${PROJECT_BINARY_DIR}/generated/report/report_template.inc ONLY_IF_DIFFERENT)
