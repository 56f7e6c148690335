#include "workload/arrival_process.hpp"

namespace orrery {
namespace {

/// One every 1/rate seconds, from 0.
class Constant : public ArrivalProcess {
 public:
  explicit Constant(double rate) : rate_(rate) {}
  double next() override { return count_++ / rate_; }

 private:
  double rate_, count_ = 0;
};

ArrivalProcessPtr make(const ArrivalSpec&, double rate, Rng) {
  return std::make_unique<Constant>(rate);
}

const Registration<ArrivalProcesses> constant{"constant", "equal gaps, the first request at 0", make};

}  // namespace
}  // namespace orrery
