#include "gpu_runner.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery::live {
namespace {

/// The most a step's inputs take: chunks of one token each, or one long one, never need more than this.
std::size_t input_bytes(const DecoderLimits& limits) {
  StepCounts counts;
  counts.decode_rows = limits.max_sequences, counts.chunks = limits.max_sequences;
  counts.chunk_tokens = limits.max_rows;
  counts.table_stride = (limits.max_model_len + limits.block_size - 1) / limits.block_size;
  alignas(16) std::byte origin[16];
  InputView view;
  return lay_out(counts, origin, view);
}

const DecoderLimits& check_memory(const DecoderSizes& sizes, const DecoderLimits& limits) {
  const double needed = Decoder::bytes(sizes, limits);
  const auto there = static_cast<double>(kernels::free_device_bytes());
  if (needed > there) {
    throw ConfigError(
        fmt::format("the model and {} KV blocks need {:.2f} GiB and {:.2f} GiB of the GPU's memory "
                    "are free",
                    limits.kv_blocks, needed / kGiB, there / kGiB),
        "a lower --gpu-memory-utilization, or fewer --num-gpu-blocks-override", ExitCode::infeasible);
  }
  return limits;
}

}  // namespace

GpuRunner::GpuRunner(const DecoderSizes& sizes, const DecoderLimits& limits, RunnerOptions options)
    : options_(std::move(options)),
      limits_(check_memory(sizes, limits)),
      decoder_(sizes, limits, options_.seed),
      writer_(limits.block_size, limits.max_model_len),
      history_(sizes.vocab),
      inputs_(input_bytes(limits)) {
  for (Turn& turn : turns_) {
    turn.inputs = kernels::PinnedArray<std::byte>(inputs_.size());
    turn.tokens = kernels::PinnedArray<std::int32_t>(static_cast<std::size_t>(limits.max_sequences));
  }
  capture_all();
}

/// Every kernel and shape that comes often runs once before anything is timed: modules are loaded, the
/// library has planned.
void GpuRunner::capture_all() {
  for (int rows = 16;; rows = std::min(2 * rows, limits_.max_rows)) {
    StepCounts counts;
    counts.chunk_tokens = std::min(rows, limits_.max_rows);
    counts.chunks = (counts.chunk_tokens + limits_.max_model_len - 1) / limits_.max_model_len;
    counts.max_chunk = (counts.chunk_tokens + counts.chunks - 1) / counts.chunks;
    counts.table_stride = writer_.blocks_for(writer_.band(counts.max_chunk));
    warm_up(counts);
    if (rows >= limits_.max_rows) break;
  }
  for (const int rows : options_.graph_sizes) {
    for (int last = 0, band = writer_.band(1); band != last; last = band, band = writer_.band(band + 1)) {
      StepCounts counts;
      counts.decode_rows = rows, counts.max_context = band, counts.table_stride = writer_.blocks_for(band);
      capture(counts);
    }
  }
  kernels::synchronize(stream_.ref());
}

void GpuRunner::warm_up(const StepCounts& counts) {
  InputView host;
  const std::size_t bytes = lay_out(counts, turns_[0].inputs.data(), host);
  StepWriter::write_padding(counts, host);
  kernels::copy_async(inputs_.data(), turns_[0].inputs.data(), bytes, stream_.ref());
  enqueue(counts, stream_.ref());
  kernels::synchronize(stream_.ref());
}

void GpuRunner::enqueue(const StepCounts& counts, StreamRef stream) {
  InputView view;
  lay_out(counts, inputs_.data(), view);
  decoder_.enqueue(counts, view, stream);
}

void GpuRunner::capture(const StepCounts& counts) {
  warm_up(counts);
  const auto [entry, made] =
      graphs_.emplace(GraphKey{counts.decode_rows, counts.max_context},
                      kernels::Graph([=, this](StreamRef stream) { enqueue(counts, stream); }));
  entry->second.replay(stream_.ref());  // the first replay uploads it
}

/// A pure decode step that a graph can hold is padded to the next captured size.
int GpuRunner::padded_rows(const BatchPlan& plan) const {
  const auto rows = static_cast<int>(plan.decode.seqs);
  if (!plan.chunks.empty()) return rows;
  const auto size = std::lower_bound(options_.graph_sizes.begin(), options_.graph_sizes.end(), rows);
  return size == options_.graph_sizes.end() ? rows : *size;
}

void GpuRunner::launch(const Scheduler& scheduler, const BatchPlan& plan) {
  ORRERY_CHECK(under_way_.size() < 2, "two steps are under way already");
  Turn& turn = turns_[next_turn_];
  const auto& sizes = options_.graph_sizes;
  turn.counts = writer_.count(scheduler, plan, padded_rows(plan));
  turn.graph = plan.chunks.empty() && !sizes.empty() && turn.counts.decode_rows <= sizes.back();
  turn.queued = !under_way_.empty();
  InputView host;
  const std::size_t bytes = lay_out(turn.counts, turn.inputs.data(), host);
  writer_.write(scheduler, plan, turn.counts, history_, host, turn.sampled);
  turn.start.record(stream_.ref());
  kernels::copy_async(inputs_.data(), turn.inputs.data(), bytes, stream_.ref());
  if (turn.graph) {
    graphs_.at({turn.counts.decode_rows, turn.counts.max_context}).replay(stream_.ref());
  } else {
    enqueue(turn.counts, stream_.ref());
  }
  kernels::copy_async(turn.tokens.data(), decoder_.sampled(),
                      static_cast<std::size_t>(turn.counts.sequences()) * sizeof(std::int32_t),
                      stream_.ref());
  turn.end.record(stream_.ref());
  under_way_.push_back(next_turn_);
  next_turn_ = (next_turn_ + 1) % turns_.size();
}

StepReport GpuRunner::finish() {
  ORRERY_CHECK(!under_way_.empty(), "no step is under way");
  const std::size_t index = under_way_.front();
  under_way_.pop_front();
  const Turn& turn = turns_[index];
  turn.end.wait();
  for (const auto& row : turn.sampled) history_.append(row.request, turn.tokens.data()[row.row]);
  StepReport report;
  report.device_s = turn.end.seconds_since(turn.start);
  if (turn.queued) {
    report.gap_s = turn.start.seconds_since(turns_[(index + turns_.size() - 1) % turns_.size()].end);
  }
  report.padded = turn.counts.rows();
  report.graph = turn.graph;
  return report;
}

void GpuRunner::forget(RequestId id) {
  if (!options_.keep_tokens) history_.forget(id);
}

}  // namespace orrery::live
