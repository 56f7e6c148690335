#pragma once

#include <array>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "decoder.hpp"
#include "step_runner.hpp"

namespace orrery::live {

struct RunnerOptions {
  std::vector<int> graph_sizes;  ///< ascending; pure decode steps of at most the largest run as graphs
  std::uint64_t seed = 0;        ///< of the weights
  bool keep_tokens = false;      ///< of finished requests, for who wants to read them
};

/// Runs steps on the device: pure decode steps of the captured sizes as CUDA graphs, others kernel by kernel.
/// Up to two steps are under way.
class GpuRunner final : public StepRunner {
 public:
  /// Makes the model, captures the graphs and warms up. Errors: DeviceError; ConfigError (infeasible) when
  /// the device's free memory is too small.
  GpuRunner(const DecoderSizes& sizes, const DecoderLimits& limits, RunnerOptions options);

  void launch(const Scheduler& scheduler, const BatchPlan& plan) override;
  StepReport finish() override;
  void forget(RequestId id) override;

  const TokenHistory& tokens() const { return history_; }
  const Decoder& decoder() const { return decoder_; }

 private:
  /// A step under way. Its inputs are page-locked and stay until it is over.
  struct Turn {
    kernels::PinnedArray<std::byte> inputs;
    kernels::PinnedArray<std::int32_t> tokens;
    kernels::Event start, end;
    std::vector<SampledRow> sampled;
    StepCounts counts;
    bool graph = false;
    bool queued = false;  ///< launched while another was under way
  };
  /// Decode rows, and the band of contexts the attention was split for.
  using GraphKey = std::pair<int, int>;

  int padded_rows(const BatchPlan& plan) const;
  void enqueue(const StepCounts& counts, StreamRef stream);
  void capture(const StepCounts& counts);
  void capture_all();
  void warm_up(const StepCounts& counts);

  RunnerOptions options_;
  DecoderLimits limits_;
  Decoder decoder_;
  StepWriter writer_;
  TokenHistory history_;
  kernels::Stream stream_;
  DeviceArray<std::byte> inputs_;
  std::map<GraphKey, kernels::Graph> graphs_;
  std::array<Turn, 3> turns_;  ///< two under way, and the one before them: its end is a gap's begin
  std::deque<std::size_t> under_way_;
  std::size_t next_turn_ = 0;
};

}  // namespace orrery::live
