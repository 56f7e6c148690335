#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace orrery::kernels {

enum class Collective { all_reduce, all_gather, send_recv };

/// One NCCL communicator per visible GPU, all driven by this process. Under the emulator there is never more
/// than one rank.
class RankGroup {
 public:
  /// GPUs that NCCL could use together; 1 or fewer with a sentence in `*why` when there are not several, or
  /// no NCCL.
  static int available(std::string* why);
  /// Buffers for payloads of up to `bytes` per rank, bf16 elements. Errors: DeviceError.
  RankGroup(int ranks, std::size_t bytes);
  ~RankGroup();
  /// Runs once on all ranks and waits. `bytes`: per rank, as the kernel class counts it. Returns the seconds
  /// of the slowest.
  double run(Collective what, std::size_t bytes);
  /// Largest relative error of a sum, gather or transfer of small integers, where exact results are known.
  double check(Collective what, std::size_t bytes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orrery::kernels
