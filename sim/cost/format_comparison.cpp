#include "cost/format_comparison.hpp"

#include <array>

#include "ops/equal_sequences.hpp"

namespace orrery {

namespace {

StepPricer pricer(const ModelSpec& model, const DeviceProfile& device, const KernelCostModelPtr& cost,
                  const Precision& precision, Shard shard) {
  KernelPlan plan;
  plan.precision = precision;
  return {model, shard, device, topology_for(device), plan, cost};
}

double ratio(Ps from, Ps to) {
  return static_cast<double>(from.value) / static_cast<double>(to.value);
}

}  // namespace

FormatComparison::FormatComparison(const ModelSpec& model, const DeviceProfile& device,
                                   const KernelCostModelPtr& cost, const Precision& from, const Precision& to,
                                   Shard shard)
    : from_(pricer(model, device, cost, from, shard)), to_(pricer(model, device, cost, to, shard)) {}

double FormatComparison::decode(std::int64_t seqs, Tokens context) {
  const DecodeSet set = equal_sequences(from_.model().caps(), seqs, context);
  return ratio(from_.decode(set).first, to_.decode(set).first);
}

double FormatComparison::prefill(Tokens prompt) {
  const std::array chunk{PrefillChunk{prompt, 0}};
  return ratio(from_.mixed({}, chunk), to_.mixed({}, chunk));
}

}  // namespace orrery
