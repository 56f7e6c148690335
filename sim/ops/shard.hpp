#pragma once

#include <cstdint>
#include <string>

namespace orrery {

/// How one replica's model is split. Sizes multiply to its GPUs: tp * pp * dp * cp (ep spans tp * dp, dcp is
/// within tp).
struct Shard {
  int tp = 1;  ///< tensor parallel: heads and hidden widths are divided
  int pp = 1;  ///< pipeline parallel: layers are divided
  int dp = 1;  ///< data parallel ranks stepping in lockstep (attention of MoE models)
  int ep = 1;  ///< expert parallel: experts are divided over this many of the tp * dp ranks
  int cp = 1;  ///< context parallel: a prompt's tokens are divided (prefill)
  /// Decode context parallel: each sequence's keys and values are divided over so many of the tp ranks that
  /// would keep the same ones.
  int dcp = 1;
  int gpus() const { return tp * pp * dp * cp; }
};

/// "tp4 pp2", "dp8 ep8", "tp1".
std::string name(const Shard& shard);

}  // namespace orrery
