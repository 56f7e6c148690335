#pragma once

#include <cstdint>
#include <string>

#include "decoder.hpp"
#include "gpu_runner.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery::live {

/// What a deployment's engine needs of the device: the model's sizes and the memory limits. Errors:
/// ConfigError for what the live engine does not run (several GPUs or replicas, other architectures).
struct LiveEngine {
  explicit LiveEngine(const Deployment& deployment);
  DecoderSizes sizes;
  DecoderLimits limits;
  RunnerOptions options;
};

/// Runs a scenario for real on this machine's device (under the emulator, in its own time) and writes the
/// run directory of a simulation, plus steps.csv. The engine is `live` unless the scenario names a version of
/// it. Errors: ConfigError; with exit code `no_device` when no GPU answers.
RunResult run_live(Assignments scenario, RunOptions options);

}  // namespace orrery::live
