#pragma once

#include <string>
#include <vector>

#include "hw/device_profile.hpp"
#include "model/model_spec.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// The number formats an engine would run `model` in: the checkpoint's own, changed by --dtype,
/// --quantization and --kv-cache-dtype as vLLM reads them. A method whose format the checkpoint is stored in
/// keeps all of it (groups, what was left out); another replaces it. Weights in fp8, int8 or fp4 on a device
/// without such matrix units are widened in the kernel (W8A16, W4A16), as vLLM's Marlin does; `warnings` says
/// so. Errors: ConfigError naming the field, its value and what is valid, for methods that are not modelled
/// and arithmetic the device lacks.
Precision choose_precision(const Scenario& scenario, const ModelSpec& model, const DeviceProfile& device,
                           std::vector<std::string>& warnings);

}  // namespace orrery
