#pragma once

#include <cstdlib>
#include <string>

/// Folder of published measurements (ORRERY_REFERENCE_DATA), or "" when unset: the test then says so and
/// passes.
inline std::string reference_data() {
  const char* set = std::getenv("ORRERY_REFERENCE_DATA");
  return set ? set : "";
}

#define REQUIRE_REFERENCE_DATA(dir)                    \
  const std::string dir = reference_data();            \
  if (dir.empty()) {                                   \
    WARN("skipped: ORRERY_REFERENCE_DATA is not set"); \
    return;                                            \
  }
