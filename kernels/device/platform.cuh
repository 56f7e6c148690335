#pragma once

/// The one place that knows how a kernel source is compiled: by nvcc for a GPU, or by the host compiler for
/// the emulator (kernels/emulator), which runs the same source thread by thread on the CPU. Kernels include
/// only the headers of kernels/device; intrinsics and inline PTX live there, each beside its emulated twin.

#include <cstddef>
#include <cstdint>
#include <utility>

#include "runtime/runtime.hpp"

#if defined(__CUDACC__)

#include <cuda_runtime.h>

#define ORRERY_DEVICE __device__ __forceinline__
#define ORRERY_HOST_DEVICE __host__ __device__ __forceinline__
/// Declares `T* name`, the block's dynamic shared memory (LaunchShape::shared_bytes), 16-byte aligned.
#define ORRERY_DYNAMIC_SHARED(T, name)                           \
  extern __shared__ __align__(16) unsigned char orrery_shared[]; \
  T* const name = reinterpret_cast<T*>(orrery_shared)

#else

#include "emulator/cuda_language.hpp"

#define ORRERY_DEVICE inline
#define ORRERY_HOST_DEVICE inline
#define ORRERY_DYNAMIC_SHARED(T, name) \
  T* const name = static_cast<T*>(::orrery::kernels::emulator::dynamic_shared())

#endif

namespace orrery::kernels {

struct LaunchShape {
  dim3 grid, block;
  std::size_t shared_bytes = 0;  ///< dynamic shared memory per block, whatever the device offers
  StreamRef stream = nullptr;
};

/// Enqueues kernel<<<grid, block, shared, stream>>>(args...). Errors: DeviceError.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const LaunchShape& shape, Arguments&&... args) {
#if defined(__CUDACC__)
  // Above 48 KiB it must be asked for; what a kernel declares statically counts towards them.
  constexpr std::size_t without_asking = 32 * 1024;
  if (shape.shared_bytes > without_asking) {
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)),
               "shared memory of a kernel");
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid, config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes, config.stream = shape.stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(args)...), "launch of a kernel");
#else
  const auto body = [&] { kernel(static_cast<Parameters>(args)...); };
  emulator::run(shape.grid, shape.block, shape.shared_bytes, body);
#endif
}

/// ceil(a / b) for positive integers.
template <class T>
constexpr ORRERY_HOST_DEVICE T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

}  // namespace orrery::kernels
