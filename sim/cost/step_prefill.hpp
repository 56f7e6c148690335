#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "cost/step_kernels.hpp"
#include "cost/step_parts.hpp"

namespace orrery {

/// Time of the attention of a step's prompt chunks: one launch per kind of attention over all chunks, and
/// what is exchanged for it, where a plan says so at the same time. Recent lists of chunks are kept with
/// their prices, which they decide: a step that is priced and later accounted, or the same prompt again,
/// costs a look-up.
class PrefillTable {
 public:
  PrefillTable(const StepKernels& kernels, std::size_t windows);
  std::int64_t ps(std::span<const PrefillChunk> chunks);
  /// Adds one step's chunks to the account; returns their ps.
  double account(std::span<const PrefillChunk> chunks, ClassAccount& out);

 private:
  // Direct-mapped. Saturated by long prompts, a replica meets some ten thousand chunks again and again.
  static constexpr int kSlotBits = 14;
  static constexpr std::size_t kSlots = std::size_t{1} << kSlotBits, kChunks = 2;
  struct Slot {
    std::array<PrefillChunk, kChunks> chunks{};
    std::size_t size = 0;  ///< 0: empty
    std::int64_t ps = 0;   ///< of all kinds
  };
  struct KindPrice {
    const KernelClass* cls = nullptr;
    std::int64_t ps = 0;
    Provenance provenance = Provenance::analytic;
  };
  /// Position of the slot with these chunks' prices, priced now if it held others.
  std::size_t find(std::span<const PrefillChunk> chunks);
  std::int64_t price(std::span<const PrefillChunk> chunks, std::span<KindPrice> out);

  const StepKernels* kernels_;
  std::size_t kinds_ = 0;          ///< launches per step, at most
  std::vector<Slot> slots_;        ///< and one more, for the last list of more than kChunks
  std::vector<KindPrice> prices_;  ///< kinds_ per slot
  std::vector<PrefillChunk> long_list_;
  BatchShape shape_;   ///< reused
  KernelCalls calls_;  ///< reused
};

}  // namespace orrery
