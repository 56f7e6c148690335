#include "base/rng.hpp"
#include "serving/queue_policy.hpp"

namespace orrery {
namespace {

/// Shortest job first, by the answer's length: known (an oracle, length_prediction_error 0), or predicted
/// with an error of so much in the standard deviation of ln(predicted / true), drawn once for each request.
class ShortestJob final : public QueuePolicy {
 public:
  explicit ShortestJob(const QueueParams& params)
      : seed_(params.seed), sigma_(params.length_prediction_error) {}

  bool before(const Sequence& a, const Sequence& b) const override {
    const double left_a = predicted(a), left_b = predicted(b);
    return left_a != left_b ? left_a < left_b : arrived_before(a.request, b.request);
  }

 private:
  double predicted(const Sequence& seq) const {
    const auto answer = static_cast<double>(seq.request.output_tokens);
    if (sigma_ == 0) return answer;
    Rng rng(seed_ ^ (static_cast<std::uint64_t>(seq.request.id) * 0x9E3779B97F4A7C15ULL),
            "length prediction");
    return answer * rng.lognormal(0, sigma_);
  }

  std::uint64_t seed_;
  double sigma_;
};

const Registration<QueuePolicies> sjf{
    "sjf", "the shortest answer first, known or predicted (length_prediction_error)",
    [](const QueueParams& c) -> std::unique_ptr<QueuePolicy> { return std::make_unique<ShortestJob>(c); }};

}  // namespace
}  // namespace orrery
