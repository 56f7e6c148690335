#include "workload/arrival_process.hpp"

namespace orrery {
namespace {

class Poisson : public ArrivalProcess {
 public:
  Poisson(double rate, Rng rng) : mean_gap_(1 / rate), rng_(rng) {}
  double next() override { return time_ += rng_.exponential(mean_gap_); }

 private:
  double mean_gap_;
  Rng rng_;
  double time_ = 0;
};

ArrivalProcessPtr make(const ArrivalSpec&, double rate, Rng rng) {
  return std::make_unique<Poisson>(rate, rng);
}

const Registration<ArrivalProcesses> poisson{"poisson", "exponential gaps: independent users", make};

}  // namespace
}  // namespace orrery
