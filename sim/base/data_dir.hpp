#pragma once

#include <string>

namespace orrery {

/// The folder that holds models/, hwprofiles/, calibration/ and traces/: $ORRERY_DATA if set, else the
/// installed data folder if it exists, else the source tree the binary was built from. No trailing slash.
std::string data_dir();

}  // namespace orrery
