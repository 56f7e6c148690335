#include "base/rng.hpp"
#include "serving/queue_policy.hpp"

namespace orrery {

double predicted_output(const Request& request, const QueueParams& params) {
  const auto answer = static_cast<double>(request.output_tokens);
  if (params.length_prediction_error == 0) return answer;
  Rng rng(params.seed ^ (static_cast<std::uint64_t>(request.id) * 0x9E3779B97F4A7C15ULL),
          "length prediction");
  return answer * rng.lognormal(0, params.length_prediction_error);
}

namespace {

/// Shortest job first, by the answer's length: known (an oracle, length_prediction_error 0), or predicted
/// with an error of so much in the standard deviation of ln(predicted / true), drawn once for each request.
class ShortestJob final : public QueuePolicy {
 public:
  explicit ShortestJob(const QueueParams& params) : params_(params) {}

  bool before(const Sequence& a, const Sequence& b) const override {
    const double left_a = predicted_output(a.request, params_), left_b = predicted_output(b.request, params_);
    return left_a != left_b ? left_a < left_b : arrived_before(a.request, b.request);
  }

 private:
  QueueParams params_;
};

const Registration<QueuePolicies> sjf{
    "sjf", "the shortest answer first, known or predicted (length_prediction_error)",
    [](const QueueParams& c, const KvCache&) -> std::unique_ptr<QueuePolicy> {
      return std::make_unique<ShortestJob>(c);
    }};

}  // namespace
}  // namespace orrery
