#pragma once

#include <string>

#include "scenario/engine_profile.hpp"

namespace orrery {

/// Reads calibration/engines/<engine>/<version>.json, strictly. Errors: ConfigError with file, line and key.
EngineProfile read_engine_file(const std::string& path);

/// Sets the field of `settings` that a version file calls `key`; the value has been checked by
/// read_engine_file.
void apply_setting(EngineSettings& settings, const std::string& key, const Json& value);

}  // namespace orrery
