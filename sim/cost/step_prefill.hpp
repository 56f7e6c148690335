#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "cost/step_kernels.hpp"
#include "cost/step_parts.hpp"

namespace orrery {

/// Time of the attention of a step's prompt chunks: one launch per kind of attention over all chunks, priced
/// from its summed dimensions. Recent prices are kept by those dimensions, which decide them: a step that is
/// priced and then accounted, or the same prompt again, costs a look-up.
class PrefillTable {
 public:
  explicit PrefillTable(const StepKernels& kernels, std::size_t windows);
  std::int64_t ps(std::span<const PrefillChunk> chunks);
  /// Adds one step's chunks to the account; returns their ps.
  double account(std::span<const PrefillChunk> chunks, ClassAccount& out);

 private:
  static constexpr std::size_t kRecent = 512;  ///< per kind of attention, direct-mapped
  struct Recent {
    std::array<double, 8> dims{};  ///< all zero: empty
    std::int64_t ps = 0;
    Provenance provenance = Provenance::analytic;
  };
  void lower(std::span<const PrefillChunk> chunks);
  const Recent& price(std::size_t position);

  const StepKernels* kernels_;
  std::vector<Recent> recent_;
  BatchShape shape_;   ///< reused
  KernelCalls calls_;  ///< reused
};

}  // namespace orrery
