#include "cost/step_encoder.hpp"

#include <cmath>
#include <utility>

namespace orrery {

EncoderTable::EncoderTable(const StepKernels& kernels, EncoderParams encoder, Image size,
                           const KernelPlan& plan)
    : kernels_(&kernels),
      encoder_(std::move(encoder)),
      size_(size),
      between_(to_ps(plan.kernel_gap_per_layer * static_cast<double>(encoder_.layers)).value) {}

void EncoderTable::lower(std::int64_t images, KernelCalls& out) const {
  const std::vector<Image> batch(static_cast<std::size_t>(images), size_);
  kernels_->lower(encoder_, batch, out);
}

const EncoderTable::Price& EncoderTable::price(std::int64_t images) {
  const auto [entry, fresh] = prices_.try_emplace(images);
  Price& price = entry->second;
  if (!fresh) return price;
  KernelCalls calls;
  lower(images, calls);
  for (const KernelCall& call : calls) {
    if (!call.cls) continue;
    const KernelTime time = kernels_->price(call);
    const double seconds = time.time.value * call.repeat * kernels_->factor(call);
    price.shares.push_back({call.cls, time.provenance, seconds});
    price.ps += std::llround(seconds * kPsPerSecond);
  }
  return price;
}

std::int64_t EncoderTable::ps(std::span<const PrefillChunk> chunks) {
  const std::int64_t images = images_of(chunks);
  return images == 0 ? 0 : price(images).ps + between_;
}

double EncoderTable::account(std::span<const PrefillChunk> chunks, ClassAccount& out) {
  const std::int64_t images = images_of(chunks);
  if (images == 0) return 0;
  const Price& all = price(images);
  for (const Share& share : all.shares) out.add(*share.cls, share.provenance, share.seconds);
  return static_cast<double>(all.ps);
}

std::int64_t images_of(std::span<const PrefillChunk> chunks) {
  std::int64_t images = 0;
  for (const PrefillChunk& chunk : chunks) images += chunk.images;
  return images;
}

}  // namespace orrery
