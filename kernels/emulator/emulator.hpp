#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace orrery::kernels::emulator {

// Runs CUDA kernels on the CPU to check their logic where there is no GPU: one block after another, each
// thread of a block a fiber, switched at barriers and warp operations. It reproduces what correctness rests
// on (barriers, exchanges within a warp, asynchronous copies that land only when waited for, uninitialised
// shared memory), and nothing of performance.

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};

/// In which order the threads of a block run between two barriers. A kernel whose result depends on it lacks
/// a barrier.
enum class Order : std::uint8_t { forward, reverse, shuffled };
void set_order(Order order);

/// Runs body() once per thread of each block. Errors: std::logic_error for what a GPU refuses or leaves
/// undefined: threads that wait at different barriers for ever, operations of a warp without all its lanes,
/// accesses that are not aligned, impossible launches.
void run(const Index3& grid, const Index3& block, std::size_t shared_bytes,
         const std::function<void()>& body);

// What a running kernel sees; only inside run().
const Index3& thread_index();
const Index3& block_index();
const Index3& block_size();
const Index3& grid_size();
void* dynamic_shared();  ///< filled with 0xCD when a block starts
int lane();              ///< 0..31

void block_barrier();
void warp_barrier();
/// Every lane of the warp gives `bytes` (at most 64) and receives those of all 32.
void warp_exchange(const void* mine, std::size_t bytes, void* all);

[[noreturn]] void report_misaligned(std::size_t bytes);
/// Errors: std::logic_error unless the address is a multiple of `bytes`.
inline void require_aligned(const void* address, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) report_misaligned(bytes);
}
/// cp.async: the copy happens when the group it was committed to is waited for, by the thread that issued it.
void async_copy(void* to, const void* from, std::size_t bytes, std::size_t valid_bytes);
void async_commit();
void async_wait(int groups_left);

}  // namespace orrery::kernels::emulator
