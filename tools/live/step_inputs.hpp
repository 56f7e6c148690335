#pragma once

#include <cstdint>
#include <vector>

#include "serving/scheduler.hpp"
#include "token_history.hpp"

namespace orrery::live {

/// How many of what a step computes. Rows of the batch: the decode set (and what pads it) first, one row
/// each, then the tokens of the chunks. Logits are computed for one row per sequence, the last of each, as
/// engines do (unfinished prompts included).
struct StepCounts {
  int decode_rows = 0;  ///< with those that pad it to the size of a graph
  int chunk_tokens = 0;
  int chunks = 0;
  int max_chunk = 0;     ///< tokens of the longest chunk
  int max_context = 0;   ///< decode rows' contexts are at most this
  int table_stride = 0;  ///< blocks of a row of the block table
  int rows() const { return decode_rows + chunk_tokens; }
  int sequences() const { return decode_rows + chunks; }
};

/// What the kernels of a step read besides activations; pointers into one buffer, on the host or the device.
struct InputView {
  std::int64_t* slots = nullptr;          ///< [rows] where k and v go: block x block_size + offset
  std::int32_t* ids = nullptr;            ///< [rows] tokens; those of decode rows are gathered on the device
  std::int32_t* positions = nullptr;      ///< [rows]
  std::int32_t* sources = nullptr;        ///< [decode rows] entries of the token table
  std::int32_t* contexts = nullptr;       ///< [decode rows] own token included; 0 = padding
  std::int32_t* query_offsets = nullptr;  ///< [chunks + 1], the first chunk's tokens at 0
  std::int32_t* past = nullptr;           ///< [chunks]
  std::int32_t* last_rows = nullptr;      ///< [sequences] rows whose logits are wanted
  std::int32_t* targets = nullptr;        ///< [sequences] entries of the token table to write
  std::int32_t* table = nullptr;          ///< [sequences][stride] block table
};
/// Lays the arrays out behind each other; the same for the same counts, so that graphs find them again.
/// Returns the bytes they take.
std::size_t lay_out(const StepCounts& counts, void* base, InputView& view);

/// Entries of the table of latest tokens, on the device, one for each sequence a scheduler can hold, and two
/// more: one that nobody reads, for tokens of unfinished prompts and of padding, and one that nobody writes.
inline constexpr std::int32_t kTokenSlots = 1 << 20;
inline constexpr std::int32_t kDropSlot = kTokenSlots;
inline constexpr std::int32_t kPadSlot = kTokenSlots + 1;

/// A request that gets a token with the step.
struct SampledRow {
  RequestId request = 0;
  int row = 0;  ///< among the step's sequences
};

/// Writes plans out for the kernels, right after they were made (Scheduler::expand).
class StepWriter {
 public:
  StepWriter(int block_size, int max_model_len) : block_size_(block_size), max_model_len_(max_model_len) {}

  /// `decode_rows`: the plan's decode set, padded.
  StepCounts count(const Scheduler& scheduler, const BatchPlan& plan, int decode_rows);
  /// The plan that was counted last.
  void write(const Scheduler& scheduler, const BatchPlan& plan, const StepCounts& counts,
             const TokenHistory& history, const InputView& out, std::vector<SampledRow>& sampled) const;
  /// A step of padding alone: what a graph is captured with.
  static void write_padding(const StepCounts& counts, const InputView& out);

  /// Contexts in bands of factors of four, so that few graphs serve all: the first that holds `context`.
  int band(int context) const;
  int blocks_for(int tokens) const { return (tokens + block_size_ - 1) / block_size_; }

 private:
  void write_member(const Scheduler& scheduler, const DecodeMember& member, int row, int stride,
                    const InputView& out) const;
  void write_chunk(const Scheduler& scheduler, const ScheduledChunk& chunk, int first_row, int sequence,
                   int stride, const TokenHistory& history, const InputView& out) const;

  int block_size_, max_model_len_;
  std::vector<DecodeMember> members_;
};

}  // namespace orrery::live
