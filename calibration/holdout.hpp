#pragma once

#include <cstdint>
#include <vector>

#include "calibration/kernel_rows.hpp"

namespace orrery::calibrate {

/// Where a row goes: into the fit, or to one of the two judges of it.
enum class Use : std::uint8_t {
  fit,
  held_row,    ///< one of the random fifth
  held_shape,  ///< its whole shape (a GEMM's n and k; an attention's heads and head size) was never fitted
};

/// Decided by a hash of the row's own shape: the same on every machine, in any order, whatever else is in the
/// table.
Use use_of(const GemmRow& row);
Use use_of(const AttentionRow& row, bool decode);
Use use_of(const RowKernelRow& row);
/// For the rows of one class and pair of formats. A shape is all dimensions but the first, which is what a
/// batch changes; shapes are held out only where there are at least 6, or a fit could be left without any.
std::vector<Use> uses_of(const std::vector<GenericRow>& rows);
/// The same for timings of layers of one target, by their `shape`.
std::vector<Use> uses_of(const std::vector<LayerRow>& rows);

/// Collectives are judged by cross-validation: the fold, 0 to kFolds - 1, in which a row is held out.
inline constexpr int kFolds = 5;
int fold_of(const CollectiveRow& row);

}  // namespace orrery::calibrate
