#include "cost/phase_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.hpp"

namespace orrery {

PhaseModel::PhaseModel(StepPricer& pricer, PhaseWorkload workload)
    : prefill_(pricer), decode_(pricer), apart_(false), workload_(std::move(workload)) {
  ORRERY_CHECK(!workload_.longer_than.empty() && workload_.longer_than.front() == 1, "answers have a token");
}

PhaseModel::PhaseModel(StepPricer& prefill, StepPricer& decode, PhaseWorkload workload)
    : prefill_(prefill), decode_(decode), apart_(true), workload_(std::move(workload)) {
  ORRERY_CHECK(!workload_.longer_than.empty() && workload_.longer_than.front() == 1, "answers have a token");
}

/// Sequences in the `step`-th decode step after a batch of prompts (from 0), and the tokens they store: of
/// the batches that came k cycles ago those whose answers are longer than what they have had by now.
double PhaseModel::decoding(std::int64_t batch, std::int64_t iterations, Tokens step, double& tokens) const {
  double seqs = 0;
  tokens = 0;
  const auto& longer = workload_.longer_than;
  for (Tokens had = step + 1; had < std::ssize(longer); had += iterations) {
    const double here = static_cast<double>(batch) * longer[static_cast<std::size_t>(had)];
    seqs += here;
    tokens += here * static_cast<double>(workload_.prompt + had);
  }
  return seqs;
}

PhaseSchedule PhaseModel::evaluate(std::int64_t batch, std::int64_t iterations) const {
  PhaseSchedule out{batch, iterations};
  const std::vector<PrefillChunk> prompts(static_cast<std::size_t>(batch), PrefillChunk{workload_.prompt, 0});
  const double prefill = to_seconds(prefill_.mixed({}, prompts)).value;
  double decode = 0;
  out.tokens = static_cast<double>(batch * workload_.prompt);
  for (Tokens step = 0; step < iterations; ++step) {
    double tokens = 0;
    const double seqs = decoding(batch, iterations, step, tokens);
    out.tokens = std::max(out.tokens, tokens);
    DecodeSet set;
    set.seqs = std::llround(seqs), set.context = std::llround(tokens);
    if (set.seqs == 0) continue;
    decode += to_seconds(decode_.decode(set).first).value;
  }
  const double cycle = apart_ ? std::max(prefill, decode) : prefill + decode;
  out.throughput = static_cast<double>(batch) / cycle;
  const double steps = static_cast<double>(std::max<Tokens>(0, workload_.bounded_answer - 1));
  const double cycles = steps / static_cast<double>(iterations);
  // Apart, each cycle's steps are stretched over it; together, a sequence waits for the prompts between them.
  out.latency_s = apart_ ? prefill + cycles * cycle
                         : prefill + cycles * decode + std::max(0.0, std::ceil(cycles) - 1) * prefill;
  return out;
}

namespace {

/// Batches [low, high], intervals between prompts [often, seldom].
struct Block {
  std::int64_t low, high, often, seldom;
  bool single() const { return low == high && often == seldom; }
};

std::vector<Block> halves(const Block& b) {
  if (b.high - b.low >= b.seldom - b.often) {
    const std::int64_t middle = b.low + (b.high - b.low) / 2;
    return {{middle + 1, b.high, b.often, b.seldom}, {b.low, middle, b.often, b.seldom}};
  }
  const std::int64_t middle = b.often + (b.seldom - b.often) / 2;
  return {{b.low, b.high, b.often, middle}, {b.low, b.high, middle + 1, b.seldom}};
}

}  // namespace

std::optional<PhaseSchedule> best_schedule(const PhaseModel& model, const PhaseLimits& limits, double slack) {
  const auto allowed = [&](const PhaseSchedule& s, double margin) {
    return s.latency_s <= limits.latency_s * margin && s.tokens <= limits.tokens * margin;
  };
  std::optional<PhaseSchedule> best;
  std::vector<Block> open{{1, limits.max_batch, 1, limits.max_iterations}};
  while (!open.empty()) {
    const Block block = open.back();
    open.pop_back();
    const PhaseSchedule least = model.evaluate(block.low, block.seldom);
    if (allowed(least, 1) && (!best || least.throughput > best->throughput)) best = least;
    if (block.single() || !allowed(least, 1 + slack)) continue;
    const PhaseSchedule most = model.evaluate(block.high, block.often);
    if (allowed(most, 1) && (!best || most.throughput > best->throughput)) best = most;
    if (best && most.throughput <= best->throughput * (1 + slack)) continue;
    for (const Block& half : halves(block)) open.push_back(half);
  }
  return best;
}

}  // namespace orrery
