#include "base/error.hpp"
#include "device/counting_sort.cuh"
#include "moe_routing.hpp"

// What a mixture of experts runs around its matrix products: the choice (Shazeer et al., Outrageously Large
// Neural Networks, 2017; softmax over the chosen as Mixtral, Jiang et al., 2024; groups and bias as
// DeepSeek-V3, 2024; by experts: Zhou et al., 2022), a stable sort, the permutation and the weighted sum.
//
// The choice: one warp per token, its logits in registers; each of top_k rounds is two warp reductions of
// integers. Permutation and sum, nearly all of the bytes, are bound by memory: 16-byte accesses, a token's
// row read once and written top_k times, and top_k rows in flight per thread to be summed (aim: 85% of the
// bandwidth of a copy from some thousand tokens on). Small batches are bound by the latency of four launches.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarpSize, kPer = kPerLoad<bf16>;

// ---- experts by tokens

/// A token's scores, `each` to a lane: expert i * 32 + lane. What cannot be chosen has the key 0.
template <int each>
struct Scores {
  float score[each];
  std::uint32_t key[each];
};

template <int each>
ORRERY_DEVICE Scores<each> score_token(const bf16* logits, const float* bias, int experts,
                                       bool sigmoid_scores) {
  Scores<each> s;
  float largest = -INFINITY, sum = 0;
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int expert = i * kWarpSize + lane_id();
    s.score[i] = expert < experts ? to_float(logits[expert]) : -INFINITY;
    largest = fmaxf(largest, s.score[i]);
  }
  if (!sigmoid_scores) largest = warp_max(largest);
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int expert = i * kWarpSize + lane_id();
    const float logit = s.score[i];
    s.score[i] = sigmoid_scores ? sigmoid(logit) : fast_exp(logit - largest);
    sum += s.score[i];
    s.key[i] = expert < experts ? ordered(logit) : 0;  // without a bias logits order as scores do, exactly
  }
  const float factor = sigmoid_scores ? 1.0F : 1.0F / warp_sum(sum);
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int expert = i * kWarpSize + lane_id();
    s.score[i] *= factor;
    if (bias != nullptr && expert < experts) s.key[i] = ordered(s.score[i] + bias[expert]);
  }
  return s;
}

/// The expert of the largest key that `may` be chosen (the lowest of equal ones), and that key; its key
/// becomes `then`.
template <int each, class May>
ORRERY_DEVICE int take_largest(std::uint32_t (&keys)[each], May&& may, std::uint32_t& key) {
  std::uint32_t mine = 0;
#pragma unroll
  for (int i = 0; i < each; ++i) mine = may(i) && keys[i] > mine ? keys[i] : mine;
  key = warp_max(mine);
  unsigned expert = ~0U;
#pragma unroll
  for (int i = each - 1; i >= 0; --i) {
    if (may(i) && keys[i] == key) expert = static_cast<unsigned>(i * kWarpSize + lane_id());
  }
  expert = warp_min(expert);
#pragma unroll
  for (int i = 0; i < each; ++i) {
    if (static_cast<unsigned>(i * kWarpSize + lane_id()) == expert) keys[i] = 0;
  }
  return static_cast<int>(expert);
}

ORRERY_DEVICE float value_of(std::uint32_t key) {
  return bits_to_float(key >> 31 != 0 ? key & 0x7fffffffU : ~key);
}

/// Clears the keys of all but the best groups; lane g holds the score of group g.
template <int each>
ORRERY_DEVICE void keep_groups(std::uint32_t (&keys)[each], const ChooseExpertsArgs& args) {
  const int size = args.experts / args.groups;
  std::uint32_t group_key[1] = {0};
  for (int g = 0; g < args.groups; ++g) {
    std::uint32_t copy[each], best, second;
#pragma unroll
    for (int i = 0; i < each; ++i) copy[i] = keys[i];
    const auto inside = [&](int i) { return (i * kWarpSize + lane_id()) / size == g; };
    take_largest(copy, inside, best);
    float score = value_of(best);
    if (args.bias != nullptr && size > 1) take_largest(copy, inside, second), score += value_of(second);
    if (lane_id() == g) group_key[0] = ordered(score);
  }
  unsigned kept = 0;
  for (int g = 0; g < args.top_groups; ++g) {
    std::uint32_t key;
    kept |= 1U << take_largest(
                group_key, [](int) { return true; }, key);
  }
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int group = (i * kWarpSize + lane_id()) / size;
    if (group >= args.groups || (kept >> group & 1U) == 0) keys[i] = 0;
  }
}

template <int each>
__global__ void __launch_bounds__(kThreads) choose_experts_kernel(ChooseExpertsArgs args) {
  const std::int64_t token = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize;
  if (token >= args.tokens) return;  // all lanes of a warp alike
  auto s = score_token<each>(args.logits + token * args.experts, args.bias, args.experts, args.sigmoid);
  if (args.groups > 1) keep_groups(s.key, args);
  int expert = 0;
  float weight = 0;
  for (int j = 0; j < args.top_k; ++j) {
    std::uint32_t key;
    const int chosen = take_largest(
        s.key, [](int) { return true; }, key);
    float score = 0;
#pragma unroll
    for (int i = 0; i < each; ++i) score = i * kWarpSize + lane_id() == chosen ? s.score[i] : score;
    score = shfl(score, chosen % kWarpSize);
    if (lane_id() == j) expert = chosen, weight = score;
  }
  const float sum = warp_sum(weight);
  if (lane_id() >= args.top_k) return;
  const std::int64_t at = token * args.top_k + lane_id();
  args.expert[at] = expert;
  args.weight[at] = weight * (args.renormalise ? args.scale / sum : args.scale);
}

// ---- the sort

__global__ void __launch_bounds__(kSortThreads) sort_by_expert_kernel(SortByExpertArgs args, int tiles) {
  __shared__ SortShared shared;
  const int tile = static_cast<int>(blockIdx.x), first = tile * kSortTile;
  const int items = static_cast<int>(args.tokens) * args.top_k;
  int keys[kSortEach], ranks[kSortEach];
#pragma unroll
  for (int i = 0; i < kSortEach; ++i) {
    const int item = first + sort_item(i);
    keys[i] = item < items ? args.expert[item] : -1;
  }
  stable_ranks(keys, ranks, args.experts, shared);
  const auto whole = [&](int expert, int start, int count) {
    if (tile != 0) return;
    args.start[expert] = start, args.count[expert] = count;
    if (args.token == nullptr) return;
    for (int row = start + count; row % args.alignment != 0; ++row) args.token[row] = -1;
  };
  tile_bases(args.workspace, tile, tiles, args.experts, args.alignment, whole, shared);
#pragma unroll
  for (int i = 0; i < kSortEach; ++i) {
    if (keys[i] < 0) continue;
    const int item = first + sort_item(i), row = shared.bases[keys[i]] + ranks[i];
    args.row[item] = row;
    if (args.token != nullptr) args.token[row] = item / args.top_k;
  }
}

// ---- tokens by experts

/// Softmax of a token's logits, turned over: [experts, tokens], 32 bytes of an expert's row to a block.
template <int each>
__global__ void __launch_bounds__(kThreads) scores_kernel(ChooseTokensArgs args) {
  __shared__ float tile[kWarps][kMaxExperts];
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, first = static_cast<int>(blockIdx.x) * kWarps;
  if (first + warp < args.tokens) {
    const bf16* logits =
        args.logits + static_cast<std::size_t>(first + warp) * static_cast<unsigned>(args.experts);
    const auto s = score_token<each>(logits, nullptr, args.experts, false);
#pragma unroll
    for (int i = 0; i < each; ++i) tile[warp][i * kWarpSize + lane_id()] = s.score[i];
  }
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < args.experts * kWarps; at += kThreads) {
    const int expert = at / kWarps, token = at % kWarps;
    if (first + token < args.tokens)
      args.scores[static_cast<std::size_t>(expert) * static_cast<unsigned>(args.tokens) +
                  static_cast<unsigned>(first + token)] = tile[token][expert];
  }
}

__global__ void __launch_bounds__(kSelectThreads) choose_tokens_kernel(ChooseTokensArgs args) {
  __shared__ SelectShared shared;
  const int expert = static_cast<int>(blockIdx.x);
  const float* scores = args.scores + static_cast<std::size_t>(expert) * static_cast<unsigned>(args.tokens);
  const auto key = [&](int token) { return ordered(scores[token]); };
  const Largest largest = select_largest(args.tokens, args.capacity, key, shared);
  const auto emit = [&](int token, int rank) {
    const int row = expert * args.capacity + rank;
    args.token[row] = token, args.weight[row] = scores[token];
    args.row[static_cast<std::size_t>(token) * static_cast<unsigned>(args.experts) +
             static_cast<unsigned>(expert)] = row;
  };
  for_each_largest(args.tokens, largest, key, emit, shared);
}

// ---- rows

/// 16 bytes per thread of a row: blockIdx.x the token (or row), blockIdx.y the part of it.
__global__ void __launch_bounds__(kThreads) permute_kernel(PermuteArgs args) {
  const int at = (static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x)) * kPer;
  if (at >= args.hidden) return;
  const std::int64_t index = blockIdx.x;
  if (args.row == nullptr) {
    const auto x = load_pack<kPer>(args.x + static_cast<std::int64_t>(args.token[index]) * args.hidden + at);
    store_pack(args.out + index * args.hidden + at, x);
    return;
  }
  const auto x = load_pack<kPer>(args.x + index * args.hidden + at);
  for (int j = 0; j < args.top_k; ++j) {
    const std::int64_t row = args.row[index * args.top_k + j];
    store_pack(args.out + row * args.hidden + at, x);
  }
}

/// Adds up to four rows at a time, all of them in flight.
__global__ void __launch_bounds__(kThreads) combine_kernel(CombineArgs args) {
  constexpr int together = 4;
  const int at = (static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x)) * kPer;
  if (at >= args.hidden) return;
  const std::int64_t token = blockIdx.x;
  const std::int32_t* rows = args.row + token * args.choices;
  float sums[kPer] = {};
  for (int first = 0; first < args.choices; first += together) {
    Pack<bf16, kPer> x[together];
    float weights[together];
#pragma unroll
    for (int u = 0; u < together; ++u) {
      const int j = first + u;
      const std::int64_t row = j < args.choices ? rows[j] : -1;
      x[u] = {}, weights[u] = 0;
      if (row < 0) continue;
      x[u] = load_pack<kPer>(args.x + row * args.hidden + at);
      weights[u] = args.weight[args.weight_of_row ? row : token * args.choices + j];
    }
#pragma unroll
    for (int u = 0; u < together; ++u) {
#pragma unroll
      for (int i = 0; i < kPer; ++i) sums[i] += weights[u] * to_float(x[u].v[i]);
    }
  }
  Pack<bf16, kPer> y;
#pragma unroll
  for (int i = 0; i < kPer; ++i) y.v[i] = from_float<bf16>(sums[i]);
  store_pack(args.y + token * args.hidden + at, y);
}

LaunchShape per_row(std::int64_t rows, int hidden, StreamRef stream) {
  const auto parts = static_cast<unsigned>(ceil_div(hidden, kThreads * kPer));
  return {dim3(static_cast<unsigned>(rows), parts), dim3(kThreads), 0, stream};
}
LaunchShape per_token(std::int64_t tokens, StreamRef stream) {
  return {dim3(static_cast<unsigned>(ceil_div<std::int64_t>(tokens, kWarps))), dim3(kThreads), 0, stream};
}

/// Calls f with the number of experts per lane, as a type, compiled for the smallest that does.
template <class F>
void with_each(int experts, F&& f) {
  ORRERY_CHECK(experts >= 1 && experts <= kMaxExperts, "more experts than a warp holds");
  const int each = ceil_div(experts, kWarpSize);
  if (each <= 1) return f(std::integral_constant<int, 1>{});
  if (each <= 2) return f(std::integral_constant<int, 2>{});
  if (each <= 4) return f(std::integral_constant<int, 4>{});
  if (each <= 8) return f(std::integral_constant<int, 8>{});
  f(std::integral_constant<int, kMaxExperts / kWarpSize>{});
}

}  // namespace

void choose_experts(const ChooseExpertsArgs& args, StreamRef stream) {
  if (args.tokens == 0) return;
  ORRERY_CHECK(args.top_k >= 1 && args.top_k <= kMaxChoices, "more choices than a warp holds");
  ORRERY_CHECK(args.groups >= 1 && args.groups <= kWarpSize && args.experts % args.groups == 0,
               "groups that do not divide the experts");
  ORRERY_CHECK(args.top_k <= args.experts / args.groups * args.top_groups, "fewer experts than choices");
  with_each(args.experts,
            [&](auto each) { launch(choose_experts_kernel<each()>, per_token(args.tokens, stream), args); });
}

std::size_t sort_by_expert_workspace(std::int64_t tokens, int experts, int top_k) {
  const int tiles = sort_tiles(tokens * top_k);
  return tiles > 1 ? static_cast<std::size_t>(tiles) * static_cast<std::size_t>(experts) : 0;
}

std::int64_t max_moe_rows(std::int64_t tokens, int experts, int top_k, int alignment) {
  const std::int64_t rows = tokens * top_k;
  return rows + std::min<std::int64_t>(experts, rows) * (alignment - 1);
}

void sort_by_expert(const SortByExpertArgs& args, StreamRef stream) {
  ORRERY_CHECK(args.experts <= kSortBins, "more experts than the sort has bins");
  const std::int64_t items = args.tokens * args.top_k;
  const int tiles = std::max(sort_tiles(items), 1);  // without tokens, all counts are zero
  const LaunchShape shape{dim3(static_cast<unsigned>(tiles)), dim3(kSortThreads), 0, stream};
  if (tiles > 1) {
    launch(count_keys_kernel, shape, args.expert, args.workspace, static_cast<int>(items), args.experts, 0,
           kSortBins - 1);
  }
  launch(sort_by_expert_kernel, shape, args, tiles);
}

void choose_tokens(const ChooseTokensArgs& args, StreamRef stream) {
  ORRERY_CHECK(args.capacity >= 1 && args.capacity <= args.tokens, "a capacity that no expert can fill");
  fill_async(args.row, 0xFF,
             static_cast<std::size_t>(args.tokens) * static_cast<std::size_t>(args.experts) * 4, stream);
  with_each(args.experts,
            [&](auto each) { launch(scores_kernel<each()>, per_token(args.tokens, stream), args); });
  launch(choose_tokens_kernel, {dim3(static_cast<unsigned>(args.experts)), dim3(kSelectThreads), 0, stream},
         args);
}

void permute_rows(const PermuteArgs& args, StreamRef stream) {
  const std::int64_t rows = args.row != nullptr ? args.tokens : args.rows;
  if (rows > 0) launch(permute_kernel, per_row(rows, args.hidden, stream), args);
}

void combine_rows(const CombineArgs& args, StreamRef stream) {
  if (args.tokens > 0) launch(combine_kernel, per_row(args.tokens, args.hidden, stream), args);
}

}  // namespace orrery::kernels
