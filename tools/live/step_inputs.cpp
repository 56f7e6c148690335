#include "step_inputs.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace orrery::live {
namespace {

constexpr std::size_t kAlignment = 16;
constexpr int kFirstBand = 1024, kBandFactor = 4;

template <class T>
void place(T*& field, std::size_t count, std::byte*& at) {
  field = reinterpret_cast<T*>(at);
  at += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
}

/// The first blocks of a sequence, as many as a row of the table holds.
const std::int32_t* copy_table(const Scheduler& scheduler, SeqIndex seq, int sequence, int stride,
                               const InputView& out) {
  ORRERY_CHECK(seq < kTokenSlots, "more sequences at once than the token table holds");
  const auto blocks = scheduler.block_table(seq);
  auto* const row = out.table + std::ptrdiff_t{sequence} * stride;
  std::copy_n(blocks.begin(), std::min(static_cast<int>(blocks.size()), stride), row);
  return row;
}

}  // namespace

std::size_t lay_out(const StepCounts& counts, void* base, InputView& view) {
  const auto rows = static_cast<std::size_t>(counts.rows());
  const auto decode = static_cast<std::size_t>(counts.decode_rows);
  const auto chunks = static_cast<std::size_t>(counts.chunks);
  const auto sequences = static_cast<std::size_t>(counts.sequences());
  auto* at = static_cast<std::byte*>(base);
  place(view.slots, rows, at);
  place(view.ids, rows, at);
  place(view.positions, rows, at);
  place(view.sources, decode, at);
  place(view.contexts, decode, at);
  place(view.query_offsets, chunks + 1, at);
  place(view.past, chunks, at);
  place(view.last_rows, sequences, at);
  place(view.targets, sequences, at);
  place(view.table, sequences * static_cast<std::size_t>(counts.table_stride), at);
  return static_cast<std::size_t>(at - static_cast<std::byte*>(base));
}

int StepWriter::band(int context) const {
  int band = kFirstBand;
  while (band < context) band *= kBandFactor;
  return std::min(band, max_model_len_);
}

StepCounts StepWriter::count(const Scheduler& scheduler, const BatchPlan& plan, int decode_rows) {
  scheduler.expand(plan, members_);
  int longest = 0;
  for (const auto& member : members_) longest = std::max(longest, static_cast<int>(member.context) + 1);
  StepCounts counts;
  counts.max_context = band(longest);
  counts.decode_rows = decode_rows;
  counts.chunks = static_cast<int>(plan.chunks.size());
  for (const auto& chunk : plan.chunks) {
    counts.chunk_tokens += static_cast<int>(chunk.tokens.new_tokens);
    counts.max_chunk = std::max(counts.max_chunk, static_cast<int>(chunk.tokens.new_tokens));
    longest = std::max(longest, static_cast<int>(chunk.tokens.past + chunk.tokens.new_tokens));
  }
  counts.table_stride = blocks_for(band(longest));
  return counts;
}

void StepWriter::write(const Scheduler& scheduler, const BatchPlan& plan, const StepCounts& counts,
                       const TokenHistory& history, const InputView& out,
                       std::vector<SampledRow>& sampled) const {
  sampled.clear();
  write_padding(counts, out);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    write_member(scheduler, members_[i], static_cast<int>(i), counts.table_stride, out);
    sampled.push_back({scheduler.sequence(members_[i].seq).request.id, static_cast<int>(i)});
  }
  int row = counts.decode_rows;
  for (int i = 0; i < counts.chunks; ++i) {
    const ScheduledChunk& chunk = plan.chunks[static_cast<std::size_t>(i)];
    const int sequence = counts.decode_rows + i;
    write_chunk(scheduler, chunk, row, sequence, counts.table_stride, history, out);
    if (chunk.last) sampled.push_back({scheduler.sequence(chunk.seq).request.id, sequence});
    out.query_offsets[i] = row - counts.decode_rows;
    out.past[i] = static_cast<std::int32_t>(chunk.tokens.past);
    row += static_cast<int>(chunk.tokens.new_tokens);
  }
}

void StepWriter::write_padding(const StepCounts& counts, const InputView& out) {
  for (int i = 0; i < counts.rows(); ++i) out.slots[i] = 0, out.ids[i] = 0, out.positions[i] = 0;
  for (int i = 0; i < counts.decode_rows; ++i) out.sources[i] = kPadSlot, out.contexts[i] = 0;
  for (int i = 0; i < counts.sequences(); ++i) {
    out.last_rows[i] = std::min(i, counts.rows() - 1), out.targets[i] = kDropSlot;
  }
  for (int i = 0; i < counts.chunks; ++i) {
    out.query_offsets[i] = static_cast<std::int32_t>(std::int64_t{counts.chunk_tokens} * i / counts.chunks);
    out.past[i] = 0;
    auto* const blocks = out.table + std::ptrdiff_t{counts.decode_rows + i} * counts.table_stride;
    std::fill(blocks, blocks + counts.table_stride, 0);
  }
  out.query_offsets[counts.chunks] = counts.chunk_tokens;
}

void StepWriter::write_member(const Scheduler& scheduler, const DecodeMember& member, int row, int stride,
                              const InputView& out) const {
  const auto* const blocks = copy_table(scheduler, member.seq, row, stride, out);
  const auto position = static_cast<std::int32_t>(member.context);
  out.slots[row] = std::int64_t{blocks[position / block_size_]} * block_size_ + position % block_size_;
  out.positions[row] = position;
  out.contexts[row] = position + 1;
  out.sources[row] = out.targets[row] = member.seq;
}

void StepWriter::write_chunk(const Scheduler& scheduler, const ScheduledChunk& chunk, int first_row,
                             int sequence, int stride, const TokenHistory& history,
                             const InputView& out) const {
  const auto* const blocks = copy_table(scheduler, chunk.seq, sequence, stride, out);
  const Request& request = scheduler.sequence(chunk.seq).request;
  const auto n = static_cast<int>(chunk.tokens.new_tokens);
  for (int i = 0; i < n; ++i) {
    const auto position = static_cast<std::int32_t>(chunk.tokens.past) + i;
    out.slots[first_row + i] =
        std::int64_t{blocks[position / block_size_]} * block_size_ + position % block_size_;
    out.ids[first_row + i] = history.at(request, position);
    out.positions[first_row + i] = position;
  }
  out.last_rows[sequence] = first_row + n - 1;
  out.targets[sequence] = chunk.last ? chunk.seq : kDropSlot;
}

}  // namespace orrery::live
