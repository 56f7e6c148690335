#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "cost/drafting.hpp"
#include "cost/kernel_plan.hpp"
#include "cost/step_pricer.hpp"
#include "hw/device_profile.hpp"
#include "report/summary.hpp"
#include "scenario/scenario.hpp"
#include "serving/decoder.hpp"

namespace orrery {

/// vLLM's speculative_config: {"method": "eagle3", "model": "...", "num_speculative_tokens": 5}, and beside
/// its keys "acceptance" (a number, or one for each drafted token: see DecoderParams) and "sampled". Without
/// a method a model is a draft model, as in vLLM; "deepseek_mtp", "qwen3_next_mtp" and their like are "mtp".
struct SpeculativeConfig {
  DecoderParams decoder;
  bool acceptance_given = false;
  std::vector<std::string> warnings;  ///< keys that change timing and are not modelled
};
/// Errors: ConfigError naming the key, its value and what is valid.
SpeculativeConfig parse_speculative_config(std::string_view json);

/// What a scenario's speculation is to the scheduler, to prices and to memory.
struct Speculation {
  Decoder decoder;  ///< plain without speculation
  Drafting drafting;
  std::string acceptance_source;  ///< "given", or "assumed: ..." with its source; "" without speculation
  double draft_weight_bytes = 0;  ///< on one rank
  double draft_kv_bytes_per_token = 0;
  Seconds host_per_sequence{0};  ///< of the host's own drafting, each step
};
/// Errors: ConfigError for a draft that cannot be loaded or split, an MTP method on a model without MTP
/// layers.
Speculation choose_speculation(const Scenario& scenario, const ModelSpec& target, const LoweringContext& ctx,
                               const DeviceProfile& device, std::vector<std::string>& warnings);

/// Speculation as a run shows it, one line: method, tokens drafted, acceptance and where it is from, tau.
std::string describe(const Speculation& speculation);
/// The part of the engine's time that draft models take.
double draft_share(const TimeShares& shares);
OrderedJson to_json(const Speculation& speculation, double draft_share);

/// What a method's acceptance is taken to be where none is given, as each drafted token's chance given those
/// before it.
struct AssumedAcceptance {
  DraftMethod method;
  double value;
  std::string_view source;
};
const AssumedAcceptance& assumed_acceptance(DraftMethod method);

}  // namespace orrery
