#include "cost/step_prefill.hpp"

#include <bit>
#include <cmath>

namespace orrery {

PrefillTable::PrefillTable(const StepKernels& kernels, std::size_t windows) : kernels_(&kernels) {
  shape_.windowed_context.resize(windows);
  const PrefillChunk chunk{16, 0};
  lower({&chunk, 1});
  for (const KernelCall& call : calls_) {
    ORRERY_CHECK(call.mark == Mark::none, "prefill attention inside a fork is not compiled");
  }
  recent_.resize(kRecent * calls_.size());
}

void PrefillTable::lower(std::span<const PrefillChunk> chunks) {
  shape_.chunks.assign(chunks.begin(), chunks.end());
  calls_.clear();
  kernels_->lower(shape_, KernelClass::Scaling::prefill, calls_);
}

const PrefillTable::Recent& PrefillTable::price(std::size_t position) {
  const KernelCall& call = calls_[position];
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < 5; ++i)
    hash = (hash ^ std::bit_cast<std::uint64_t>(call.dims[i])) * 0x9E3779B97F4A7C15u;
  Recent& recent = recent_[position * kRecent + (hash >> 55)];
  static_assert(kRecent == std::size_t{1} << (64 - 55));
  if (recent.dims != call.dims) {
    const KernelTime time = kernels_->price(call);
    recent.dims = call.dims;
    recent.ps = std::llround(time.time.value * call.repeat * kernels_->factor(call) * kPsPerSecond);
    recent.provenance = time.provenance;
  }
  return recent;
}

std::int64_t PrefillTable::ps(std::span<const PrefillChunk> chunks) {
  lower(chunks);
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < calls_.size(); ++i) sum += price(i).ps;
  return sum;
}

double PrefillTable::account(std::span<const PrefillChunk> chunks, ClassAccount& out) {
  lower(chunks);
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    const Recent& recent = price(i);
    out.add(*calls_[i].cls, recent.provenance, static_cast<double>(recent.ps) / kPsPerSecond);
    sum += recent.ps;
  }
  return static_cast<double>(sum);
}

}  // namespace orrery
