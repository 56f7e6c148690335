# cmake -DROOT=... -DOUT=... -P revision.cmake: a header that names the sources' revision, rewritten when it changes.
execute_process(COMMAND git -C ${ROOT} describe --always --dirty --exclude=* OUTPUT_VARIABLE revision
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed AND EXISTS ${ROOT}/REVISION)  # a packed copy of the sources
  file(STRINGS ${ROOT}/REVISION revision LIMIT_COUNT 1)
elseif(failed)
  set(revision unknown)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#pragma once\n\nnamespace orrery::profile {\ninline constexpr const char* kRevision = \"${revision}\";\n}  // namespace orrery::profile\n")
