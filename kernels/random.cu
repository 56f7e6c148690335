#include <algorithm>

#include "device/hash.cuh"
#include "random.hpp"

namespace orrery::kernels {
namespace {

ORRERY_DEVICE std::uint64_t hash(std::uint64_t seed, std::uint64_t i) {
  return mix(seed * 0x9e3779b97f4a7c15ULL + i * 0xd1342543de82ef95ULL + 0x632be59bd9b4e019ULL);
}

template <class T>
__global__ void random_kernel(T* out, std::size_t n, std::uint64_t seed, float middle, float scale) {
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) {
    const float unit = static_cast<float>(hash(seed, i) >> 40) * 0x1p-23F - 1.0F;
    out[i] = from_float<T>(middle + unit * scale);
  }
}

__global__ void random_bytes_kernel(std::uint8_t* out, std::size_t n, std::uint64_t seed) {
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) {
    out[i] = static_cast<std::uint8_t>(hash(seed, i) >> 56);
  }
}

LaunchShape shape(std::size_t n, StreamRef stream) {
  LaunchShape s;
  s.grid = dim3(static_cast<unsigned>(std::clamp<std::size_t>(ceil_div<std::size_t>(n, 256), 1, 4096)));
  s.block = dim3(256);
  s.stream = stream;
  return s;
}

}  // namespace

template <class T>
void fill_random(T* out, std::size_t n, std::uint64_t seed, float scale, StreamRef stream) {
  if (n > 0) launch(random_kernel<T>, shape(n, stream), out, n, seed, 0.0F, scale);
}
template void fill_random(float*, std::size_t, std::uint64_t, float, StreamRef);
template void fill_random(bf16*, std::size_t, std::uint64_t, float, StreamRef);
template void fill_random(fp16*, std::size_t, std::uint64_t, float, StreamRef);
template void fill_random(fp8*, std::size_t, std::uint64_t, float, StreamRef);
template void fill_random(std::int8_t*, std::size_t, std::uint64_t, float, StreamRef);

template <class T>
void fill_between(T* out, std::size_t n, std::uint64_t seed, float low, float high, StreamRef stream) {
  const float middle = (low + high) / 2, scale = (high - low) / 2;
  if (n > 0) launch(random_kernel<T>, shape(n, stream), out, n, seed, middle, scale);
}
template void fill_between(float*, std::size_t, std::uint64_t, float, float, StreamRef);
template void fill_between(bf16*, std::size_t, std::uint64_t, float, float, StreamRef);

void fill_random_bytes(std::uint8_t* out, std::size_t n, std::uint64_t seed, StreamRef stream) {
  if (n > 0) launch(random_bytes_kernel, shape(n, stream), out, n, seed);
}

}  // namespace orrery::kernels
