#include <chrono>

#include "cache_eviction.hpp"
#include "device/platform.cuh"

namespace orrery::profile {

namespace {

constexpr unsigned kThreads = 256;
constexpr int kFill = 0xA5;  // an exclusive or of such words is never 1

__global__ void evict_cache_kernel(const uint4* data, std::size_t packs, unsigned* sink) {
  unsigned sum = 0;
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < packs; i += stride) {
    const uint4 v = data[i];
    sum ^= v.x ^ v.y ^ v.z ^ v.w;
  }
  if (sum == 1) *sink = sum;  // never; the compiler cannot know, and keeps the reads
}

}  // namespace

CacheEviction::CacheEviction(const kernels::DeviceInfo& device)
    : data_(2 * device.l2_bytes), sink_(1), blocks_(static_cast<unsigned>(device.sm_count) * 8) {
  kernels::fill_async(data_.data(), kFill, data_.bytes(), nullptr);
  kernels::synchronize_device();
}

void CacheEviction::enqueue(bool cold, kernels::StreamRef stream) const {
  const dim3 grid(cold ? blocks_ : 1), block(cold ? kThreads : 32);
  const std::size_t packs = cold ? data_.size() / sizeof(uint4) : 0;
  kernels::launch(evict_cache_kernel, {grid, block, 0, stream}, reinterpret_cast<const uint4*>(data_.data()),
                  packs, sink_.data());
}

void CacheEviction::busy(double seconds, const std::function<void()>& while_running) const {
  const auto start = std::chrono::steady_clock::now();
  const std::chrono::duration<double> length(seconds);
  while (std::chrono::steady_clock::now() - start < length) {
    for (int i = 0; i < 200; ++i) enqueue(true, nullptr);
    while_running();
    kernels::synchronize(nullptr);
  }
}

}  // namespace orrery::profile
