#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibration/csv_table.hpp"
#include "cost/kernel_cost_model.hpp"
#include "ops/kernel_call.hpp"

namespace orrery::calibrate {

/// One timing of several kernels that run one after another, as tables of parts of a layer hold them. Those
/// of one class, the target, share what the prices of the others leave of it.
struct LayerRow {
  const KernelClass* target = nullptr;
  KernelCalls calls;
  KernelClass::Dims shape{};  ///< what rows are held out by; the first is what a batch changes
  std::string region;         ///< where its error is reported
  double seconds = 0;
  /// Kernels were launched one after the other by the host, which short ones wait for: a row is told from its
  /// launches only where the kernels take longer.
  bool host_launched = false;
};

/// One of the target's calls: they agree in formats.
const KernelCall& target_call(const LayerRow& row);
/// The price of a row's kernels one after the other, as a step runs them.
double seconds_of(const LayerRow& row, const KernelCostModel& model);

/// aiconfigurator's multi-head latent attention of vLLM (collect_mla.py of that project): what an attention
/// backend runs between the projections of a layer, by CUDA events around eager calls. Prompts: keys and
/// values expanded from latents, then attention. Decode: both products by head and absorbed attention. The
/// models timed are DeepSeek-V3's and Kimi-K2's: latent 512, rope 64, nope 128, value 128. `step` is the
/// context, the new token included. Prompts with an 8-bit cache run the same kernels and are left out.
std::int64_t read_mla(const CsvTable& table, bool decode, std::vector<LayerRow>& out);

/// aiconfigurator's fused mixture of experts of vLLM (collect_moe.py): choice of experts given, permutation,
/// both grouped products, activation, weighted sum. One rank of `moe_tp_size` or `moe_ep_size`. "balanced"
/// rows spread a batch's choices evenly: min(experts, tokens top_k) experts get rows. Of power-law rows,
/// whose experts hit are not told, those with one token are taken and those with so many that every expert
/// gets rows. Left out: 8-bit rows, which take about twice as long as 16-bit ones of the same shape, as no
/// kernel would that an engine has chosen and tuned; power-law rows under expert parallelism, which show the
/// fullest rank.
std::int64_t read_moe(const CsvTable& table, std::vector<LayerRow>& out);

}  // namespace orrery::calibrate
