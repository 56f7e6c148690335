#include "workload/arrival_process.hpp"

#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

class AllAtOnce : public ArrivalProcess {
 public:
  double next() override { return 0; }
};

/// Each stage runs the process anew at its own rate; a rate of 0 is a silence.
class Staged : public ArrivalProcess {
 public:
  Staged(ArrivalSpec spec, std::uint64_t seed) : spec_(std::move(spec)), seed_(seed) { enter(0, 0); }

  double next() override {
    while (stage_ < spec_.stages.size()) {
      const double duration = spec_.stages[stage_].duration_s;
      const double t = process_ ? process_->next() : kForever;
      if (t < duration) return start_ + t;
      enter(stage_ + 1, start_ + duration);
    }
    return kForever;
  }

 private:
  void enter(std::size_t stage, double start) {
    stage_ = stage;
    start_ = start;
    process_.reset();
    if (stage >= spec_.stages.size() || spec_.stages[stage].rate == 0) return;
    process_ = Registry<ArrivalProcesses>::find(spec_.process)
                   .make(spec_, spec_.stages[stage].rate, Rng(seed_, fmt::format("arrivals.stage{}", stage)));
  }

  ArrivalSpec spec_;
  std::uint64_t seed_;
  std::size_t stage_ = 0;
  double start_ = 0;
  ArrivalProcessPtr process_;
};

void check_stages(const std::vector<RateStage>& stages) {
  for (const auto& s : stages) {
    if (!std::isfinite(s.duration_s) || s.duration_s <= 0) {
      throw ConfigError(fmt::format("a stage lasts {} s: expected a positive number", s.duration_s));
    }
    if (!std::isfinite(s.rate) || s.rate < 0) {
      throw ConfigError(fmt::format("a stage has a rate of {} requests/s: expected 0 or more", s.rate));
    }
  }
}

}  // namespace

ArrivalProcessPtr make_arrivals(const ArrivalSpec& spec, double rate, std::uint64_t seed) {
  const auto& process = Registry<ArrivalProcesses>::find(spec.process);
  if (!spec.stages.empty()) {
    check_stages(spec.stages);
    return std::make_unique<Staged>(spec, seed);
  }
  if (!(rate > 0))
    throw ConfigError(fmt::format("request rate: expected a positive number or inf, found {}", rate));
  if (std::isinf(rate)) return std::make_unique<AllAtOnce>();
  return process.make(spec, rate, Rng(seed, "arrivals"));
}

}  // namespace orrery
