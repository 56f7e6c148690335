#pragma once

#include "device/platform.cuh"

namespace orrery::kernels {

// cp.async (Ampere and later): 16 (or 4) bytes from global to shared memory without passing registers. A
// thread's copies are complete after async_wait, and seen by the block after a barrier that follows.

/// Copies 16 bytes (both addresses aligned to 16), or writes zeros when not `valid`.
ORRERY_DEVICE void async_copy16(void* shared, const void* global, bool valid = true) {
#if defined(__CUDACC__)
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
#else
  emulator::async_copy(shared, global, 16, valid ? 16 : 0);
#endif
}
/// Copies 4 bytes (both addresses aligned to 4), or writes zeros when not `valid`.
ORRERY_DEVICE void async_copy4(void* shared, const void* global, bool valid = true) {
#if defined(__CUDACC__)
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
#else
  emulator::async_copy(shared, global, 4, valid ? 4 : 0);
#endif
}
/// Closes the group of this thread's copies so far.
ORRERY_DEVICE void async_commit() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulator::async_commit();
#endif
}
/// Waits until at most `left` of this thread's latest groups are unfinished.
template <int left>
ORRERY_DEVICE void async_wait() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#else
  emulator::async_wait(left);
#endif
}

}  // namespace orrery::kernels
