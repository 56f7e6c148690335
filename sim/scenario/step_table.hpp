#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"
#include "cost/step_pricer.hpp"
#include "report/render.hpp"

namespace orrery {

/// What limits a kernel: the resource whose speed of light takes longest, or the launch when even that is
/// less than a third of a time below 5 us. Collectives are `comm`, bound by latency or bandwidth; copies to
/// and from the host are the `link`'s, what its cores compute the `host`'s.
enum class Bound : std::uint8_t { memory, compute, comm, launch, link, host };
std::string_view name(Bound bound);

/// The kernels of one role in a step: equal calls (the same in each layer) counted together.
struct OperatorRow {
  KernelCall call;  ///< one execution
  double count = 0;
  double seconds = 0, light_seconds = 0;  ///< of all executions; light: at the device's peaks
  Provenance provenance = Provenance::analytic;
  Bound bound = Bound::memory;
};

/// A priced step, per operator and in sum.
struct StepTable {
  std::vector<OperatorRow> rows;
  Work work;  ///< of the whole step on one GPU
  double kernels_s = 0, light_s = 0, device_s = 0, host_s = 0, total_s = 0;
  double ridge = 0;  ///< FLOP per byte at which the matrix units become the limit, in the step's main format
  DType ridge_dtype = DType::bf16;
};
StepTable step_table(const StepExplanation& step, const DeviceProfile& device, const Topology& topology);

/// The table for a terminal, with a closing sentence on what bounds the step and why.
std::string render(const StepTable& table, const DeviceProfile& device, const RenderOptions& options);
Json to_json(const StepTable& table);

}  // namespace orrery
