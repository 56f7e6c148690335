#pragma once

#include "settings.hpp"

namespace orrery::profile {

/// What the command line asks, from looking for the device to the closing words. Returns the exit code.
/// Errors: ConfigError.
int run(const Settings& settings);

}  // namespace orrery::profile
