#include "device/platform.cuh"
#include "step_tokens.hpp"

// One thread per token, bound by latency: a few hundred integers.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 128;

__global__ void gather_tokens_kernel(std::int32_t* out, const std::int32_t* table, const std::int32_t* slots,
                                     std::int64_t n) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) out[i] = table[slots[i]];
}

__global__ void scatter_tokens_kernel(std::int32_t* table, const std::int32_t* tokens,
                                      const std::int32_t* slots, std::int64_t n) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) table[slots[i]] = tokens[i];
}

LaunchShape shape(std::int64_t n, StreamRef stream) {
  return {dim3(static_cast<unsigned>(ceil_div<std::int64_t>(n, kThreads))), dim3(kThreads), 0, stream};
}

}  // namespace

void gather_tokens(std::int32_t* out, const std::int32_t* table, const std::int32_t* slots, std::int64_t n,
                   StreamRef stream) {
  if (n > 0) launch(gather_tokens_kernel, shape(n, stream), out, table, slots, n);
}

void scatter_tokens(std::int32_t* table, const std::int32_t* tokens, const std::int32_t* slots,
                    std::int64_t n, StreamRef stream) {
  if (n > 0) launch(scatter_tokens_kernel, shape(n, stream), table, tokens, slots, n);
}

}  // namespace orrery::kernels
