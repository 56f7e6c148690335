#pragma once

#include <cstdint>

#include "cost/step_pricer.hpp"

namespace orrery {

/// How much faster a model's steps are in one set of number formats than in another, on one device and by one
/// cost model. What a quantisation gains is what comes out of this, nowhere a rule.
class FormatComparison {
 public:
  FormatComparison(const ModelSpec& model, const DeviceProfile& device, const KernelCostModelPtr& cost,
                   const Precision& from, const Precision& to, Shard shard = {});

  /// Time in `from` over time in `to` of a decode step of `seqs` sequences of `context` tokens each.
  double decode(std::int64_t seqs, Tokens context);
  /// The same of the prefill of one prompt.
  double prefill(Tokens prompt);

 private:
  StepPricer from_, to_;
};

}  // namespace orrery
