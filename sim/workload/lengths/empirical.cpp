#include <vector>

#include <fmt/format.h>

#include "workload/length_distribution.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {
namespace {

/// Lengths of rows drawn from a trace with replacement. Input and output draw their rows from the same random
/// stream, so that both lengths of a request come from one row and stay correlated.
class Empirical : public LengthDistribution {
 public:
  Empirical(std::vector<std::int32_t> lengths, Rng rng) : lengths_(std::move(lengths)), rng_(rng) {}
  std::int32_t next() override {
    const auto row = rng_.uniform_int(0, static_cast<std::int64_t>(lengths_.size()) - 1);
    return lengths_[static_cast<std::size_t>(row)];
  }

 private:
  std::vector<std::int32_t> lengths_;
  Rng rng_;
};

LengthDistributionPtr make(const LengthSpec& spec, LengthRole role, std::uint64_t seed) {
  if (spec.trace.empty()) throw ConfigError(fmt::format("empirical {} lengths need a trace", name(role)));
  const auto reader = open_trace(ByteSource::file(spec.trace), TraceOptions{});
  std::vector<std::int32_t> lengths;
  TraceRow row;
  while (reader->next(row)) {
    lengths.push_back(clamp_length(role == LengthRole::input ? row.prompt_tokens : row.output_tokens, spec));
  }
  if (lengths.empty()) throw ConfigError("the trace holds no requests").at(spec.trace);
  return std::make_unique<Empirical>(std::move(lengths), Rng(seed, "lengths.rows"));
}

const Registration<LengthDistributions> empirical{
    "empirical", "drawn from the rows of a trace, pairs kept together", make};

}  // namespace
}  // namespace orrery
