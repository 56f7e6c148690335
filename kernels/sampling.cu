#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "device/hash.cuh"
#include "device/select.cuh"
#include "device/warp.cuh"
#include "ops/kernel_classes.hpp"
#include "random.hpp"
#include "row_cases.hpp"
#include "sampling.hpp"

// From logits to tokens. Greedy: the argmax of a row, split over several blocks. Top-k and top-p: no sort;
// the smallest logit that stays is found digit by digit from histograms of the logits' order-preserving bits
// (radix selection; Alabi et al., 2012, section 3), once counting logits and once summing their weights, both
// in integers, so that the order of atomic additions does not matter. Bound by memory: a row is read once,
// and then some four times from cache.

namespace orrery::kernels {
namespace {

constexpr int kPer = kPerLoad<bf16>;

// ---- greedy

constexpr int kGreedyThreads = 256, kSplits = 8;

struct Best {
  float value;
  std::int32_t index;
};
ORRERY_DEVICE Best better(Best a, Best b) {
  const bool take_b = b.value > a.value || (b.value == a.value && b.index < a.index);
  return take_b ? b : a;
}
ORRERY_DEVICE Best warp_best(Best x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) x = better(x, {shfl_xor(x.value, mask), shfl_xor(x.index, mask)});
  return x;
}

__global__ void __launch_bounds__(kGreedyThreads)
    greedy_part_kernel(const bf16* logits, Best* parts, int vocab) {
  __shared__ Best scratch[kGreedyThreads / kWarpSize];
  const bf16* row = logits + std::size_t{blockIdx.y} * static_cast<std::size_t>(vocab);
  const int packs = vocab / kPer, stride = static_cast<int>(gridDim.x) * kGreedyThreads;
  Best best{-INFINITY, 0x7fffffff};
  for (int pack = static_cast<int>(blockIdx.x) * kGreedyThreads + static_cast<int>(threadIdx.x); pack < packs;
       pack += stride) {
    const auto x = load_pack<kPer>(row + pack * kPer);
#pragma unroll
    for (int j = 0; j < kPer; ++j) best = better(best, {to_float(x.v[j]), pack * kPer + j});
  }
  best = warp_best(best);
  if (lane_id() == 0) scratch[threadIdx.x / kWarpSize] = best;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < kGreedyThreads / kWarpSize; ++i) best = better(best, scratch[i]);
    parts[blockIdx.y * kSplits + blockIdx.x] = best;
  }
}

__global__ void greedy_merge_kernel(const Best* parts, std::int32_t* tokens, std::int64_t rows) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  Best best = parts[row * kSplits];
  for (int i = 1; i < kSplits; ++i) best = better(best, parts[row * kSplits + i]);
  tokens[row] = best.index;
}

// ---- top-k and top-p

constexpr int kThreads = 512, kWarps = kThreads / kWarpSize, kDigits = 256;
using Mass = unsigned long long;

/// A logit's weight relative to the row's largest, as an integer with 32 fraction bits: the sum of 2^31 of
/// them fits.
ORRERY_HOST_DEVICE Mass weight_of(float x, float largest, float inverse_temperature) {
  return static_cast<Mass>(expf((x - largest) * inverse_temperature) * 4294967296.0F);
}
/// bf16 bits as an unsigned number in the order of the values.
ORRERY_HOST_DEVICE unsigned ordered(bf16 x) {
  return (x.bits & 0x8000U) != 0 ? 0xffffU & ~static_cast<unsigned>(x.bits) : x.bits | 0x8000U;
}
struct SampleShared {
  float scratch[kWarps];
  Mass histogram[kDigits];
  Mass masses[kWarps];
  unsigned digit;
  Mass above;
};

/// Calls f(index, logit) for this thread's logits, ascending in index.
template <class F>
ORRERY_DEVICE void for_each_logit(const bf16* row, int vocab, F&& f) {
  for (int at = static_cast<int>(threadIdx.x) * kPer; at < vocab; at += kThreads * kPer) {
    const auto x = load_pack<kPer>(row + at);
#pragma unroll
    for (int j = 0; j < kPer; ++j) f(at + j, x.v[j]);
  }
}

/// The smallest ordered value v such that the measure of all values above v is less than `wanted` (the value
/// at which the running measure from the top reaches it). `measure(logit)` is an integer, the same for equal
/// logits; values under `floor` do not count. Two digits of 8 bits.
template <class Measure>
ORRERY_DEVICE unsigned select(const bf16* row, int vocab, unsigned floor, Mass wanted, Measure&& measure,
                              SampleShared& shared) {
  unsigned prefix = 0;
  Mass above = 0;
  for (int shift = 8; shift >= 0; shift -= 8) {
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kThreads) shared.histogram[i] = 0;
    __syncthreads();
    for_each_logit(row, vocab, [&](int, bf16 x) {
      const unsigned key = ordered(x);
      if (key >= floor && key >> (shift + 8) == prefix >> (shift + 8)) {
        atomicAdd(&shared.histogram[key >> shift & 0xffU], static_cast<Mass>(measure(x)));
      }
    });
    __syncthreads();
    if (threadIdx.x == 0) {
      int digit = kDigits - 1;
      while (digit > 0 && above + shared.histogram[digit] < wanted) above += shared.histogram[digit--];
      shared.digit = static_cast<unsigned>(digit), shared.above = above;
    }
    __syncthreads();
    prefix |= shared.digit << shift, above = shared.above;
    __syncthreads();
  }
  return prefix > floor ? prefix : floor;
}

__global__ void __launch_bounds__(kThreads) sample_kernel(SampleArgs args) {
  __shared__ SampleShared shared;
  const std::size_t row_index = blockIdx.x;
  const bf16* row = args.logits + row_index * static_cast<std::size_t>(args.vocab);
  float largest = -INFINITY;
  for_each_logit(row, args.vocab, [&](int, bf16 x) { largest = fmaxf(largest, to_float(x)); });
  largest = block_max<kWarps>(largest, shared.scratch);
  const float inverse = 1.0F / args.temperature;
  const auto weight = [&](bf16 x) { return weight_of(to_float(x), largest, inverse); };
  unsigned floor = 0;
  if (args.top_k > 0 && args.top_k < args.vocab) {
    floor = select(
        row, args.vocab, 0, static_cast<Mass>(args.top_k), [](bf16) { return Mass{1}; }, shared);
  }
  const auto mass_from = [&](unsigned from) {
    Mass mine = 0;
    for_each_logit(row, args.vocab, [&](int, bf16 x) { mine += ordered(x) >= from ? weight(x) : 0; });
    return mine;
  };
  if (args.top_p < 1.0F) {
    Mass total;
    exclusive_scan<kWarps>(mass_from(floor), shared.masses, total);
    const auto wanted = static_cast<Mass>(static_cast<double>(args.top_p) * static_cast<double>(total));
    floor = select(row, args.vocab, floor, wanted > 0 ? wanted : 1, weight, shared);
  }
  const Mass mine = mass_from(floor);
  Mass total;
  const Mass before = exclusive_scan<kWarps>(mine, shared.masses, total);
  // A point in [0, total): the thread whose part holds it finds the logit. Threads are in order, so are their
  // logits.
  const std::uint64_t random = mix(args.seed + mix(args.step * 0x9e3779b97f4a7c15ULL + row_index));
  const auto point =
      static_cast<Mass>(static_cast<double>(random >> 11) * 0x1p-53 * static_cast<double>(total));
  if (point < before || point >= before + mine) return;
  Mass at = before;
  for_each_logit(row, args.vocab, [&](int index, bf16 x) {
    const Mass w = ordered(x) >= floor ? weight(x) : 0;
    if (point >= at && point < at + w) args.tokens[row_index] = index;
    at += w;
  });
}

// ---- softmax

__global__ void __launch_bounds__(kThreads)
    softmax_kernel(float* probabilities, const bf16* logits, int vocab) {
  __shared__ float scratch[2 * kWarps];
  const bf16* row = logits + std::size_t{blockIdx.x} * static_cast<std::size_t>(vocab);
  float* out = probabilities + std::size_t{blockIdx.x} * static_cast<std::size_t>(vocab);
  float largest = -INFINITY, sum = 0;
  for_each_logit(row, vocab, [&](int, bf16 x) { largest = fmaxf(largest, to_float(x)); });
  largest = block_max<kWarps>(largest, scratch);
  for_each_logit(row, vocab, [&](int, bf16 x) { sum += fast_exp(to_float(x) - largest); });
  const float inverse = 1.0F / block_sum<kWarps>(sum, scratch + kWarps);
  for_each_logit(row, vocab, [&](int i, bf16 x) { out[i] = fast_exp(to_float(x) - largest) * inverse; });
}

}  // namespace

std::size_t greedy_workspace_bytes(std::int64_t rows) {
  return static_cast<std::size_t>(rows) * kSplits * sizeof(Best);
}

void sample_greedy(const GreedyArgs& args, StreamRef stream) {
  if (args.rows == 0) return;
  auto* parts = static_cast<Best*>(args.workspace);
  const dim3 grid(kSplits, static_cast<unsigned>(args.rows));
  launch(greedy_part_kernel, {grid, dim3(kGreedyThreads), 0, stream}, args.logits, parts, args.vocab);
  const auto blocks = static_cast<unsigned>(ceil_div<std::int64_t>(args.rows, 128));
  launch(greedy_merge_kernel, {dim3(blocks), dim3(128), 0, stream}, parts, args.tokens, args.rows);
}

void sample_top(const SampleArgs& args, StreamRef stream) {
  if (args.rows > 0)
    launch(sample_kernel, {dim3(static_cast<unsigned>(args.rows)), dim3(kThreads), 0, stream}, args);
}

void softmax_rows(float* probabilities, const bf16* logits, std::int64_t rows, int vocab, StreamRef stream) {
  if (rows == 0) return;
  launch(softmax_kernel, {dim3(static_cast<unsigned>(rows)), dim3(kThreads), 0, stream}, probabilities,
         logits, vocab);
}

namespace {

/// The tokens that top-k and then top-p leave, with their probabilities, by sorting.
std::map<std::int32_t, double> kept_tokens(const double* row, int vocab, const SampleArgs& args) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(vocab));
  for (int i = 0; i < vocab; ++i) order[static_cast<std::size_t>(i)] = i;
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return row[a] > row[b]; });
  std::size_t kept = order.size();
  const auto with_equals = [&](std::size_t n) {  // equal logits stay or go together
    while (n < kept && row[order[n]] == row[order[n - 1]]) ++n;
    return std::min(n, kept);
  };
  if (args.top_k > 0) kept = with_equals(static_cast<std::size_t>(args.top_k));
  const auto weight = [&](std::int32_t i) {
    return std::exp((row[i] - row[order[0]]) / static_cast<double>(args.temperature));
  };
  double total = 0, sum = 0;
  for (std::size_t i = 0; i < kept; ++i) total += weight(order[i]);
  std::size_t n = 0;
  while (n < kept && sum < static_cast<double>(args.top_p) * total * (1 - 1e-7)) sum += weight(order[n++]);
  kept = with_equals(std::max<std::size_t>(n, 1));
  std::map<std::int32_t, double> probabilities;
  total = 0;
  for (std::size_t i = 0; i < kept; ++i) total += weight(order[i]);
  for (std::size_t i = 0; i < kept; ++i) probabilities[order[i]] = weight(order[i]) / total;
  return probabilities;
}

class SamplingInstance final : public Instance {
 public:
  SamplingInstance(std::string variant, std::int64_t rows, int vocab, SampleArgs args, std::uint64_t seed)
      : variant_(std::move(variant)),
        logits_(random_array<bf16>(static_cast<std::size_t>(rows * vocab), seed, 6.0F)),
        tokens_(poisoned_array<std::int32_t>(static_cast<std::size_t>(rows))),
        args_(args) {
    args_.logits = logits_.data(), args_.tokens = tokens_.data(), args_.rows = rows, args_.vocab = vocab;
    workspace_ = DeviceArray<std::uint8_t>(greedy_workspace_bytes(rows));
    if (variant_ == "softmax") probabilities_ = poisoned_array<float>(logits_.size());
  }

  void launch(StreamRef stream) override {
    if (variant_ == "softmax") {
      softmax_rows(probabilities_.data(), args_.logits, args_.rows, args_.vocab, stream);
    } else if (variant_ == "greedy") {
      sample_greedy({args_.logits, args_.tokens, workspace_.data(), args_.rows, args_.vocab}, stream);
    } else {
      sample_top(args_, stream);
    }
  }

  /// Greedy: the very token. Softmax: the probabilities. Sampled: every token drawn over many steps is one
  /// that may be, and how often each was drawn is as probable as it should be (chi-square over the kept
  /// tokens, per degree of freedom).
  Check check() override {
    const auto logits = to_doubles(logits_);
    std::vector<double> wanted;
    for (std::int64_t r = 0; r < args_.rows; ++r) {
      const double* row = logits.data() + r * args_.vocab;
      if (variant_ == "greedy") {
        wanted.push_back(static_cast<double>(std::max_element(row, row + args_.vocab) - row));
      } else if (variant_ == "softmax") {
        double total = 0;
        for (int i = 0; i < args_.vocab; ++i) total += std::exp(row[i] - 6.0);
        for (int i = 0; i < args_.vocab; ++i) wanted.push_back(std::exp(row[i] - 6.0) / total);
      }
    }
    if (variant_ == "softmax") return compare(to_doubles(probabilities_), wanted, 1e-5);
    if (variant_ == "greedy") {
      const auto tokens = tokens_.download();
      return compare(std::vector<double>(tokens.begin(), tokens.end()), wanted, 0);
    }
    return check_draws(logits);
  }

 private:
  Check check_draws(const std::vector<double>& logits) {
    constexpr int kDraws = 16;
    constexpr double kTolerance = 3;
    std::vector<std::map<std::int32_t, int>> drawn(static_cast<std::size_t>(args_.rows));
    for (int step = 0; step < kDraws; ++step) {
      args_.step = static_cast<std::uint64_t>(step);
      sample_top(args_, nullptr);
      const auto tokens = tokens_.download();
      for (std::size_t r = 0; r < tokens.size(); ++r) ++drawn[r][tokens[r]];
    }
    double chi = 0, freedom = 0;
    for (std::size_t r = 0; r < drawn.size(); ++r) {
      const auto kept =
          kept_tokens(logits.data() + r * static_cast<std::size_t>(args_.vocab), args_.vocab, args_);
      for (const auto& [token, count] : drawn[r]) {
        if (!kept.contains(token)) return {std::numeric_limits<double>::infinity(), kTolerance};
      }
      for (const auto& [token, p] : kept) {
        const auto found = drawn[r].find(token);
        const double count = found == drawn[r].end() ? 0 : found->second, expected = p * kDraws;
        chi += (count - expected) * (count - expected) / expected;
      }
      freedom += std::max<double>(static_cast<double>(kept.size()) - 1, 1);
    }
    return {chi / freedom, kTolerance};
  }

  std::string variant_;
  DeviceArray<bf16> logits_;
  DeviceArray<std::int32_t> tokens_;
  DeviceArray<std::uint8_t> workspace_;
  DeviceArray<float> probabilities_;
  SampleArgs args_;
};

class Sampling final : public Component {
 public:
  std::string_view source() const override {
    return "top-p: Holtzman et al., 2020; radix selection: Alabi et al., 2012";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const std::int64_t vocab : {128256, 151936, 32000, 256000}) {
      for (const std::int64_t rows : {1, 64, 256, 16, 128, 4, 512, 32, 8, 2}) {
        cases.push_back(of("greedy", rows, vocab));
        cases.push_back(of("top_k_top_p", rows, vocab));
        if (vocab == 128256) cases.push_back(of("softmax", rows, vocab));
      }
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases{of("greedy", 1, 8), of("greedy", 5, 20000), of("softmax", 2, 8200)};
    for (const auto& [k, p_percent] : {std::pair{1, 100}, {5, 100}, {0, 50}, {20, 90}, {0, 100}}) {
      Case c = of("top_k_top_p", 2, 64);
      c.with["top_k"] = k, c.with["top_p_percent"] = p_percent;
      cases.push_back(c);
    }
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto rows = static_cast<std::int64_t>(call.dims[0]),
               vocab = static_cast<std::int64_t>(call.dims[1]);
    if (call.cls != &kSampling || vocab % kPer != 0) return {};
    return {of("greedy", rows, vocab), of("top_k_top_p", rows, vocab)};
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    SampleArgs args;
    args.top_k = static_cast<int>(c.option("top_k", 50));
    args.top_p = static_cast<float>(c.option("top_p_percent", 90)) / 100.0F;
    args.temperature = 0.8F, args.seed = c.seed;
    return std::make_unique<SamplingInstance>(c.variant, static_cast<std::int64_t>(c.call.dims[0]),
                                              static_cast<int>(c.call.dims[1]), args, c.seed);
  }

 private:
  static Case of(const char* variant, std::int64_t rows, std::int64_t vocab) {
    Case c;
    c.call = make_call(kSampling, {static_cast<double>(rows), static_cast<double>(vocab)}, DType::fp32,
                       DType::fp32);
    c.variant = variant;
    return c;
  }
};

const Sampling component;

}  // namespace

const Registration<Components> sampling{
    "sampling", "greedy, top-k and top-p sampling, softmax, over large vocabularies", &component};

}  // namespace orrery::kernels
