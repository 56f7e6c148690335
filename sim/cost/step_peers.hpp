#pragma once

#include <array>
#include <cstdint>

#include "base/units.hpp"

namespace orrery {

/// What one data-parallel rank computes in a step.
struct RankStep {
  std::int64_t decode_seqs = 0;
  Tokens chunk_tokens = 0;
  std::int64_t chunks = 0;
  bool idle() const { return decode_seqs == 0 && chunks == 0; }
};

/// The tokens that the kernels of one pass run on when ranks step together. Where a captured graph covers all
/// of them, every rank pads its batch to that of the largest; where one is not covered none uses a graph, and
/// nothing is padded: experts then share what there is (vLLM v1, v1/worker/dp_utils.py:
/// coordinate_batch_across_dp).
struct PassPeers {
  std::int64_t padded = 0;  ///< 0 = not covered
  std::int64_t pooled = 0;  ///< not covered: tokens of one rank on average; 0 = no peers
  bool alone() const { return padded == 0 && pooled == 0; }
};

/// Data-parallel ranks that make a step together, seen by the price of one of them: by pass of the step (the
/// target's first). The default is a rank without peers.
struct StepPeers {
  std::array<PassPeers, 3> passes{};
};

}  // namespace orrery
