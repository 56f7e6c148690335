#include <algorithm>

#include "base/error.hpp"
#include "gemm_grouped.hpp"
#include "gemm_grouped_kernel.cuh"

// The matrix products of a mixture of experts without padding or dropping (Gale et al., MegaBlocks, 2023),
// all experts in one launch of blocks that stay (as CUTLASS's grouped GEMM, Thakkar et al.), on mma.sync with
// copies three stages deep. bf16, or fp8 with a scale for each row of x and column of y: a step is 128 bytes
// of k in either, and lies alike.
//
// Few rows per expert are bound by reading the weights of the experts hit (aim: 80% of the bandwidth of a
// copy), many by mma.sync (aim: 55% of the dense bf16 peak on Hopper, whose full rate needs wgmma, and 75% on
// Ampere), and by the tiles that the last rows of each expert fill in part.

namespace orrery::kernels {
namespace {

/// Calls f with the tile for about this many rows to an expert that has any.
template <class F>
void with_tile(const GroupedGemmArgs& args, F&& f) {
  const std::int64_t experts = std::clamp<std::int64_t>(args.rows, 1, args.experts);
  const std::int64_t mean = ceil_div(args.rows, experts);
  if (mean <= grouped::Tile16::kM) return f(grouped::Tile16{});
  if (mean <= grouped::Tile64::kM) return f(grouped::Tile64{});
  f(grouped::Tile128{});
}
/// Elements in 16 bytes.
int per_load(DType format) {
  return format == DType::fp8 ? kPerLoad<fp8> : kPerLoad<bf16>;
}
template <class Tile>
constexpr int kShared = Tile::kStages* Tile::kStageBytes;

}  // namespace

GroupedGemmWorkspace::GroupedGemmWorkspace(int sm_count)
    : sm_count_(sm_count),
      partials_(static_cast<std::size_t>(sm_count) * grouped::Tile128::kResident * grouped::Tile128::kM *
                grouped::kTileN),
      counters_(static_cast<std::size_t>(sm_count) * grouped::Tile16::kResident) {
  fill_async(counters_.data(), 0, counters_.bytes(), nullptr);
  synchronize(nullptr);
}

void gemm_grouped(const GroupedGemmArgs& args, const GroupedGemmWorkspace& workspace, StreamRef stream) {
  if (args.rows == 0) return;
  ORRERY_CHECK(args.experts >= 1 && args.experts <= kMaxGroupedExperts, "more experts than a plan holds");
  ORRERY_CHECK(args.n % 8 == 0 && args.k % per_load(args.format) == 0, "n and k that copies do not divide");
  ORRERY_CHECK((args.format == DType::fp8) == (args.x_scale != nullptr && args.w_scale != nullptr),
               "scales for fp8, and for it alone");
  with_tile(args, [&](auto tile) {
    using Tile = decltype(tile);
    const dim3 grid(static_cast<unsigned>(workspace.sm_count() * Tile::kResident));
    const auto kernel = args.format == DType::fp8 ? grouped::kernel<fp8, Tile> : grouped::kernel<bf16, Tile>;
    launch(kernel, {grid, dim3(grouped::kThreads), kShared<Tile>, stream}, args, workspace.partials(),
           workspace.counters());
  });
}

std::size_t gemm_grouped_shared_bytes() {
  return static_cast<std::size_t>(std::max(kShared<grouped::Tile64>, kShared<grouped::Tile128>)) +
         sizeof(grouped::Plan) + sizeof(int);
}

}  // namespace orrery::kernels
