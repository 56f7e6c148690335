#include "cost/step_prefill.hpp"

#include <algorithm>
#include <cmath>

#include "cost/step_lanes.hpp"

namespace orrery {

namespace {
constexpr Tokens kLong = Tokens{1} << 30;  ///< beyond any window or budget
}  // namespace

PrefillTable::PrefillTable(const StepKernels& kernels, std::size_t windows)
    : kernels_(&kernels), slots_(kSlots + 1) {
  shape_.windowed_context.resize(windows);
  // Long contexts have launches that short ones need not (indices, exchanges of what is cached).
  for (const PrefillChunk& chunk : {PrefillChunk{16, 0}, PrefillChunk{16, kLong}}) {
    shape_.chunks = {chunk};
    calls_.clear();
    kernels_->lower(shape_, KernelClass::Scaling::prefill, calls_);
    kinds_ = std::max(kinds_, calls_.size());
  }
  prices_.resize((kSlots + 1) * kinds_);
}

std::int64_t PrefillTable::price(std::span<const PrefillChunk> chunks, std::span<KindPrice> out) {
  shape_.chunks.assign(chunks.begin(), chunks.end());
  calls_.clear();
  kernels_->lower(shape_, KernelClass::Scaling::prefill, calls_);
  ORRERY_CHECK(calls_.size() <= out.size(), "more kinds of attention in a step than in the model");
  LongestPath path;  // of whole picoseconds, which its doubles hold exactly
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    const KernelCall& call = calls_[i];
    const KernelTime time = kernels_->price(call);
    const double seconds = time.time.value * call.repeat * kernels_->factor(call);
    out[i] = {call.cls, std::llround(seconds * kPsPerSecond), time.provenance};
    path.add(call.mark, call.lane, static_cast<double>(out[i].ps));
  }
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(calls_.size()), out.end(), KindPrice{});
  return std::llround(path.seconds());
}

namespace {
bool same(std::span<const PrefillChunk> a, std::span<const PrefillChunk> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const PrefillChunk& x, const PrefillChunk& y) {
    return x.new_tokens == y.new_tokens && x.past == y.past;
  });
}
}  // namespace

std::size_t PrefillTable::find(std::span<const PrefillChunk> chunks) {
  if (chunks.empty() || chunks.size() > kChunks) {
    if (!same(chunks, long_list_)) {
      long_list_.assign(chunks.begin(), chunks.end());
      slots_[kSlots].ps = price(chunks, {&prices_[kSlots * kinds_], kinds_});
    }
    return kSlots;
  }
  std::uint64_t hash = 0;
  for (const PrefillChunk& chunk : chunks) {
    hash = (hash ^ static_cast<std::uint64_t>(chunk.new_tokens)) * 0x9E3779B97F4A7C15u;
    hash = (hash ^ static_cast<std::uint64_t>(chunk.past)) * 0x9E3779B97F4A7C15u;
  }
  const std::size_t position = hash >> (64 - kSlotBits);
  Slot& slot = slots_[position];
  if (!same(chunks, {slot.chunks.data(), slot.size})) {
    std::copy(chunks.begin(), chunks.end(), slot.chunks.begin());
    slot.size = chunks.size();
    slot.ps = price(chunks, {&prices_[position * kinds_], kinds_});
  }
  return position;
}

std::int64_t PrefillTable::ps(std::span<const PrefillChunk> chunks) {
  return slots_[find(chunks)].ps;
}

double PrefillTable::account(std::span<const PrefillChunk> chunks, ClassAccount& out) {
  const std::size_t position = find(chunks);
  for (std::size_t i = position * kinds_; i < (position + 1) * kinds_; ++i) {
    const KindPrice& kind = prices_[i];
    if (kind.cls) out.add(*kind.cls, kind.provenance, static_cast<double>(kind.ps) / kPsPerSecond);
  }
  return static_cast<double>(slots_[position].ps);
}

}  // namespace orrery
