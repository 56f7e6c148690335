#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "ops/operator.hpp"

namespace orrery {

/// Columns (or rows) of a weight matrix that belong together: `units` of `unit_width` each, such as 8 KV
/// heads of 128. A rank holds whole units; when there are fewer units than ranks each rank keeps one
/// (replicated KV heads).
struct UnitGroup {
  std::int64_t units = 0;
  std::int64_t unit_width = 1;

  std::int64_t width() const { return units * unit_width; }
  std::int64_t local_units(int ranks) const { return std::max<std::int64_t>(units / ranks, 1); }
  std::int64_t local_width(int ranks) const { return local_units(ranks) * unit_width; }
};

/// Which side of y = x W tensor parallelism divides (Shoeybi et al., Megatron-LM, 2019, section 3): columns
/// need nothing after them, rows leave partial sums for an all-reduce.
enum class TensorSplit : std::uint8_t { columns, rows };

/// y[m,n] = x[m,k] W[k,n] (+ bias): the step's (padded) tokens times a matrix in the format of its module; q,
/// k and v, or gate and up, are one matrix. FLOPs 2mnk. Bytes: x once in the arithmetic's format, W once as
/// stored, y once in the activation format. One GEMM; more kernels where the format needs them
/// (push_product).
class Linear final : public Operator {
 public:
  /// W has sum(inputs) rows and sum(outputs) columns; `split` says which of the two is divided, `module` the
  /// matrices that are quantised alike.
  Linear(std::string_view role, std::vector<UnitGroup> inputs, std::vector<UnitGroup> outputs,
         TensorSplit split, bool bias, Module module = Module::ffn);

  void lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const override;
  double parameters() const override;
  double weight_bytes(const LoweringContext& ctx) const override;

 private:
  std::int64_t k(int ranks) const;
  std::int64_t n(int ranks) const;

  std::string_view role_;
  std::vector<UnitGroup> inputs_, outputs_;
  TensorSplit split_;
  bool bias_;
  Module module_;
};

}  // namespace orrery
