#include <cmath>
#include <limits>

#include "attention_merge.hpp"
#include "base/error.hpp"
#include "component.hpp"
#include "device/warp.cuh"
#include "ops/attention_merge.hpp"
#include "random.hpp"
#include "split_kv.hpp"

// Merge of partial attention outputs by log-sum-exp (Dao, FlashAttention-2, 2023, section 3.1.1; the second
// kernel of Flash-Decoding). One block per row: its threads are groups, one float4 of the row per thread, and
// the groups share the splits. Bound by memory when rows are many, by latency in a decode step.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;

/// Weights of a row's splits into shared memory; returns one over their sum, 0 without keys.
ORRERY_DEVICE float merge_weights(const AttentionMergeArgs& args, std::int64_t row, float* weights) {
  __shared__ float scratch[2][kWarps];
  const int split = static_cast<int>(threadIdx.x);
  const float lse = split < args.splits ? args.lse[row * args.splits + split] : -INFINITY;
  const float most = block_max<kWarps>(lse, scratch[0]);
  const float weight = most == -INFINITY ? 0 : fast_exp(lse - most);
  if (split < args.splits) weights[split] = weight;
  const float sum = block_sum<kWarps>(weight, scratch[1]);  // its barrier publishes the weights
  return sum > 0 ? 1 / sum : 0;
}

__global__ void __launch_bounds__(kThreads) merge_kernel(AttentionMergeArgs args) {
  __shared__ float weights[kMaxSplits];
  __shared__ float4 sums[kThreads];
  const std::int64_t row = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x), columns = args.dim / 4, groups = kThreads / columns;
  const int group = thread / columns, column = thread % columns;
  const float inverse = merge_weights(args, row, weights);
  float4 sum = make_float4(0, 0, 0, 0);
  const float* partial = args.partial + row * args.splits * args.dim + column * 4;
  if (group < groups) {
#pragma unroll 4
    for (int split = group; split < args.splits; split += groups) {
      const float w = weights[split];
      if (w > 0) {
        const float4 x = *reinterpret_cast<const float4*>(partial + std::int64_t{split} * args.dim);
        sum.x += w * x.x, sum.y += w * x.y, sum.z += w * x.z, sum.w += w * x.w;
      }
    }
  }
  sums[thread] = sum;
  __syncthreads();
  if (group > 0) return;
  for (int other = 1; other < groups; ++other) {
    const float4 x = sums[other * columns + column];
    sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
  }
  const Pack<bf16, 4> out{{from_float<bf16>(sum.x * inverse), from_float<bf16>(sum.y * inverse),
                           from_float<bf16>(sum.z * inverse), from_float<bf16>(sum.w * inverse)}};
  store_pack(args.out + row * args.dim + column * 4, out);
}

}  // namespace

void attention_merge(const AttentionMergeArgs& args, StreamRef stream) {
  if (args.rows == 0) return;
  ORRERY_CHECK(args.splits >= 1 && args.splits <= kMaxSplits, "more splits than a merge takes");
  ORRERY_CHECK(args.dim % 4 == 0 && args.dim <= 4 * kThreads, "rows of a width that a merge does not know");
  launch(merge_kernel, {dim3(static_cast<unsigned>(args.rows)), dim3(kThreads), 0, stream}, args);
}

namespace {

class MergeInstance final : public Instance {
 public:
  /// `empty`: every third split of every second row has no keys (its partial stays NaN); row 0 none at all.
  MergeInstance(std::int64_t rows, int splits, int dim, bool empty, std::uint64_t seed)
      : partial_(random_array<float>(elements(rows, splits, dim), seed)),
        lse_(random_array<float>(elements(rows, splits, 1), seed + 1, 3.0F)),
        out_(poisoned_array<bf16>(elements(rows, 1, dim))) {
    if (empty) make_empty(rows, splits, dim);
    args_ = {partial_.data(), lse_.data(), out_.data(), rows, splits, dim};
  }

  void launch(StreamRef stream) override { attention_merge(args_, stream); }

  Check check() override {
    const auto partial = to_doubles(partial_), lse = to_doubles(lse_);
    std::vector<double> expected;
    for (std::int64_t row = 0; row < args_.rows; ++row) {
      for (int j = 0; j < args_.dim; ++j) {
        double sum = 0, weights = 0;
        for (int s = 0; s < args_.splits; ++s) {
          const std::size_t at = elements(row, args_.splits, 1) + static_cast<std::size_t>(s);
          if (std::isinf(lse[at])) continue;
          weights += std::exp(lse[at]);
          sum += std::exp(lse[at]) *
                 partial[at * static_cast<std::size_t>(args_.dim) + static_cast<std::size_t>(j)];
        }
        expected.push_back(weights > 0 ? sum / weights : 0);
      }
    }
    return compare(to_doubles(out_), expected, 8e-3);
  }

 private:
  static std::size_t elements(std::int64_t rows, int splits, int dim) {
    return static_cast<std::size_t>(rows * splits * dim);
  }
  void make_empty(std::int64_t rows, int splits, int dim) {
    auto partial = partial_.download(), lse = lse_.download();
    for (std::size_t i = 0; i < elements(rows, splits, 1); ++i) {
      const std::size_t row = i / static_cast<std::size_t>(splits),
                        split = i % static_cast<std::size_t>(splits);
      if (row != 0 && (row % 2 == 0 || split % 3 != 2)) continue;
      lse[i] = -std::numeric_limits<float>::infinity();
      const auto width = static_cast<std::size_t>(dim);
      std::fill_n(partial.begin() + static_cast<std::ptrdiff_t>(i * width), width, std::nanf(""));
    }
    partial_.upload(partial), lse_.upload(lse);
  }
  DeviceArray<float> partial_, lse_;
  DeviceArray<bf16> out_;
  AttentionMergeArgs args_;
};

class AttentionMerge final : public Component {
 public:
  std::string_view source() const override {
    return "Dao et al., Flash-Decoding, 2023; Dao, FlashAttention-2, 2023, section 3.1.1";
  }
  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const int dim : {128, 512, 64, 256}) {
      for (const int splits : {8, 64, 2, 16, 128, 4, 32}) {
        for (const std::int64_t rows : {32, 512, 8, 128, 2048}) cases.push_back(of(rows, splits, dim, false));
      }
    }
    return cases;
  }
  std::vector<Case> checks() const override {
    return {of(1, 1, 64, false),  of(5, 3, 128, true),   of(3, 33, 256, true), of(2, 127, 512, true),
            of(2, 128, 64, true), of(3, 2, 1024, false), of(3, 9, 20, true)};
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto& d = call.dims;
    const auto splits = static_cast<int>(d[1]), dim = static_cast<int>(d[2]);
    if (call.cls != &kAttentionMerge || splits < 1 || splits > kMaxSplits || dim % 4 != 0 ||
        dim > 4 * kThreads)
      return {};
    return {of(static_cast<std::int64_t>(d[0]), splits, dim, false)};
  }
  std::unique_ptr<Instance> make(const Case& c) const override {
    const auto& d = c.call.dims;
    return std::make_unique<MergeInstance>(static_cast<std::int64_t>(d[0]), static_cast<int>(d[1]),
                                           static_cast<int>(d[2]), c.option("empty", 0) != 0, c.seed);
  }

 private:
  static Case of(std::int64_t rows, int splits, int dim, bool empty) {
    Case c;
    c.call = make_call(kAttentionMerge,
                       {static_cast<double>(rows), static_cast<double>(splits), static_cast<double>(dim)},
                       DType::bf16, DType::bf16);
    c.variant = "block_per_row";
    if (empty) c.with["empty"] = 1;
    return c;
  }
};

const AttentionMerge component;

}  // namespace

const Registration<Components> attention_merge_component{
    "attention_merge", "merge of partial attention outputs by log-sum-exp", &component};

}  // namespace orrery::kernels
