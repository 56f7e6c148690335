#include "live_run.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "serve.hpp"
#include "steps_csv.hpp"
#include "wall_clock.hpp"

namespace orrery::live {
namespace {

constexpr double kMemoryTolerance = 0.05;

/// The device this process runs kernels on. Errors: ConfigError (no_device).
kernels::DeviceInfo find_device() {
  std::string why;
  const bool gpu = kernels::device_available(&why);
  try {
    const kernels::DeviceInfo info = kernels::device_info();
    if (gpu || info.emulated) return info;
  } catch (const kernels::DeviceError&) {
    // `why` says it better
  }
  throw ConfigError("the live engine needs a GPU: " + why, {}, ExitCode::no_device);
}

std::string version_text(int cuda) {
  return fmt::format("{}.{}", cuda / 1000, cuda % 1000 / 10);
}

/// Engine and device of the scenario are what runs here: anything else is said.
void check_device(const Deployment& d, const kernels::DeviceInfo& info, std::vector<std::string>& warnings) {
  const auto there = static_cast<double>(info.memory_bytes);
  if (info.emulated || std::abs(there / d.device.memory_bytes - 1) < kMemoryTolerance) return;
  warnings.push_back(
      fmt::format("the scenario is about {}, which has {:.1f} GiB; this run is on {} with {:.1f} GiB",
                  d.device.name, d.device.memory_bytes / kGiB, info.name, there / kGiB));
}

}  // namespace

LiveEngine::LiveEngine(const Deployment& d) : sizes(decoder_sizes(d.model, d.lowering)) {
  if (d.replicas() != 1) {
    throw ConfigError(fmt::format("the live engine is one replica, the scenario has {}", d.replicas()),
                      "--replicas 1 --data-parallel-size 1");
  }
  const SchedulerConfig& s = d.cluster.replicas.front().scheduler;
  if (s.swap_blocks > 0 || !d.cluster.replicas.front().kv.tiers.empty()) {
    throw ConfigError("the live engine keeps KV blocks on its GPU alone",
                      "--preemption-mode recompute, --kv-offloading-size 0");
  }
  options.graph_sizes = d.pricer().plan().graph_sizes;
  options.seed = d.cluster.seed;
  limits.kv_blocks = d.kv.blocks, limits.block_size = d.settings.block_size;
  limits.max_model_len = static_cast<int>(s.max_model_len);
  const int largest = options.graph_sizes.empty() ? 0 : options.graph_sizes.back();
  limits.max_sequences = std::max(static_cast<int>(s.max_num_seqs), largest);
  limits.max_rows = std::max(static_cast<int>(s.max_num_batched_tokens), limits.max_sequences);
}

RunResult run_live(Assignments assignments, RunOptions options) {
  const kernels::DeviceInfo device = find_device();
  Scenario scenario = resolve(assignments);
  if (scenario.engine.rfind("live", 0) != 0) {
    assignments.push_back({"engine", "live", "orrery-live", "", 0});
    scenario = resolve(assignments);
  }
  Deployment d = deploy(scenario);
  d.warnings.clear();  // they are about predicting
  check_device(d, device, d.warnings);
  const LiveEngine engine(d);
  GpuRunner runner(engine.sizes, engine.limits, engine.options);
  std::unique_ptr<StepsCsv> steps;
  options.platform = {{"device", device.name},
                      {"cuda_driver", version_text(device.driver)},
                      {"cuda_runtime", version_text(device.runtime)}};
  options.engine = [&](const ClusterConfig& cluster, RequestSource& source,
                       std::span<Observer* const> observers) {
    if (!options.out.empty()) steps = std::make_unique<StepsCsv>(options.out + "/steps.csv");
    WallClock clock;
    Server server(cluster.replicas.front(), d.model.caps(), runner, clock, observers);
    if (steps) server.on_step = [&](const LiveStep& step) { steps->write(step); };
    return server.run(source, cluster.until, cluster.stop);
  };
  RunResult result = run_deployed(d, scenario, options);
  if (steps) steps->close();
  return result;
}

}  // namespace orrery::live
