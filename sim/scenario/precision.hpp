#pragma once

#include <string>
#include <vector>

#include "hw/device_profile.hpp"
#include "model/model_spec.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// The number formats an engine would run `model` in: the checkpoint's own, changed by --dtype,
/// --quantization and --kv-cache-dtype as vLLM reads them. FP8 weights on a device without FP8 units are
/// widened in the kernel (W8A16), as vLLM's Marlin does; `warnings` says so. Errors: ConfigError for methods
/// that are not modelled.
Precision choose_precision(const Scenario& scenario, const ModelSpec& model, const DeviceProfile& device,
                           std::vector<std::string>& warnings);

}  // namespace orrery
