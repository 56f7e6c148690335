#pragma once

#include "meter.hpp"

namespace orrery::profile {

/// The clock of dry runs: made-up times that grow with a case's Work and scatter a little, of decades, so
/// that nobody takes one for a measurement.
class DryMeter final : public Meter {
 public:
  std::string_view name() const override { return "none (dry run)"; }
  bool real() const override { return false; }
  std::vector<double> sample(const Sampling& s) override;
  void keep_busy(double, const std::function<void()>& while_running) override { while_running(); }

 private:
  unsigned draws_ = 0;
};

}  // namespace orrery::profile
