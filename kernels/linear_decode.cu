#include "device/warp.cuh"
#include "linear_attention.hpp"
#include "linear_problem.hpp"
#include "ops/recurrent.hpp"

// One token per sequence against the matrix states of linear attention (fused recurrent form; Katharopoulos
// et al., 2020, eq. 16-20; Yang et al., GLA and DeltaNet, 2024). Bound by memory: a block holds 64 columns of
// one head's state in registers, read once in 16-byte accesses and written once; the delta rule's prediction
// k^T S and the readout q^T S are summed over the rows through shared memory. Aim: 85% of copy bandwidth for
// 32 sequences of 32 heads of 128 and more.

namespace orrery::kernels {
namespace {

constexpr int kColumns = 64, kLanesPerRow = kColumns / 4;

template <int key_dim>
struct DecodeTile {
  static constexpr int kWarps = key_dim == 256 ? 8 : 4, kThreads = kWarps * kWarpSize;
  static constexpr int kRowsAtOnce = kThreads / kLanesPerRow, kRows = key_dim / kRowsAtOnce;
};

/// Sums `x` over the rows: every thread gets the totals of its four columns. `partial`: a row of columns per
/// warp.
template <int warps>
ORRERY_DEVICE void sum_rows(float (&x)[4], float (&partial)[warps][kColumns]) {
  const int lane = lane_id(), column = lane % kLanesPerRow * 4,
            warp = static_cast<int>(threadIdx.x) / kWarpSize;
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] += shfl_xor(x[i], kLanesPerRow);
  if (lane < kLanesPerRow) store_pack(partial[warp] + column, Pack<float, 4>{{x[0], x[1], x[2], x[3]}});
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = 0;
#pragma unroll
  for (int w = 0; w < warps; ++w) {
    const auto part = load_pack<4>(partial[w] + column);
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] += part.v[i];
  }
}

template <int key_dim, bool vector, bool delta>
__global__ void __launch_bounds__(DecodeTile<key_dim>::kThreads) decode_kernel(LinearInputs in) {
  using Tile = DecodeTile<key_dim>;
  __shared__ float q[key_dim], k[key_dim], decay[key_dim];
  __align__(16) __shared__ float partial[Tile::kWarps][kColumns], predicted[Tile::kWarps][kColumns];
  const int thread = static_cast<int>(threadIdx.x), head = static_cast<int>(blockIdx.y);
  const std::int64_t seq = blockIdx.z, row = seq * in.heads + head;
  const int column = static_cast<int>(blockIdx.x) * kColumns + thread % kLanesPerRow * 4;
  float* const state = in.state + row * key_dim * in.value_dim + column;
  Pack<float, 4> s[Tile::kRows];
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i) {
    s[i] = load_pack<4>(state + static_cast<std::int64_t>(i * Tile::kRowsAtOnce + thread / kLanesPerRow) *
                                    in.value_dim);
  }
  const std::int64_t key = seq * in.key_pitch + head / (in.heads / in.key_heads) * key_dim;
  const float scalar = in.decay == nullptr ? 1.0F : fast_exp(in.decay[in.constant_decay ? head : row]);
  for (int d = thread; d < key_dim; d += Tile::kThreads) {
    q[d] = to_float(in.q[key + d]), k[d] = to_float(in.k[key + d]);
    decay[d] = vector ? fast_exp(to_float(in.gate[row * key_dim + d])) : scalar;
  }
  const auto v = load_pack<4>(in.v + seq * in.value_pitch + head * in.value_dim + column);
  const float beta = in.beta == nullptr ? 1.0F : in.beta[row];
  const float skip = in.skip == nullptr ? 0.0F : in.skip[head];
  __syncthreads();

  float known[4] = {}, x[4], out[4] = {};
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i) {
    const int d = i * Tile::kRowsAtOnce + thread / kLanesPerRow;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      s[i].v[j] *= decay[d];
      if (delta) known[j] += k[d] * s[i].v[j];
    }
  }
  if constexpr (delta) sum_rows<Tile::kWarps>(known, predicted);
#pragma unroll
  for (int j = 0; j < 4; ++j) x[j] = beta * (to_float(v.v[j]) - known[j]);
#pragma unroll
  for (int i = 0; i < Tile::kRows; ++i) {
    const int d = i * Tile::kRowsAtOnce + thread / kLanesPerRow;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      s[i].v[j] += k[d] * x[j];
      out[j] += q[d] * s[i].v[j];
    }
    store_pack(state + static_cast<std::int64_t>(d) * in.value_dim, s[i]);
  }
  sum_rows<Tile::kWarps>(out, partial);
  if (thread < kLanesPerRow) {
    Pack<bf16, 4> y;
#pragma unroll
    for (int j = 0; j < 4; ++j) y.v[j] = from_float<bf16>(in.scale * out[j] + skip * to_float(v.v[j]));
    store_pack(in.out + row * in.value_dim + column, y);
  }
}

template <int key_dim>
void run(const LinearInputs& in, StreamRef stream) {
  const LaunchShape shape{dim3(static_cast<unsigned>(in.value_dim / kColumns),
                               static_cast<unsigned>(in.heads), static_cast<unsigned>(in.seqs)),
                          dim3(DecodeTile<key_dim>::kThreads), 0, stream};
  const auto kernel =
      in.delta
          ? (in.gate != nullptr ? decode_kernel<key_dim, true, true> : decode_kernel<key_dim, false, true>)
          : (in.gate != nullptr ? decode_kernel<key_dim, true, false> : decode_kernel<key_dim, false, false>);
  orrery::kernels::launch(kernel, shape, in);
}

bool knows(const LinearSizes& s) {
  return (s.key_dim == 64 || s.key_dim == 128 || s.key_dim == 256) && s.value_dim > 0 &&
         s.value_dim % kColumns == 0 && s.key_heads > 0 && s.heads % s.key_heads == 0;
}

}  // namespace

void linear_decode(const LinearInputs& given, StreamRef stream) {
  const LinearInputs in = with_pitches(given);
  if (in.seqs == 0) return;
  ORRERY_CHECK(knows({in.heads, in.key_heads, in.key_dim, in.value_dim}),
               "linear attention of sizes that are not compiled");
  ORRERY_CHECK(!in.delta || in.beta != nullptr, "a delta rule without write strengths");
  if (in.key_dim == 64) run<64>(in, stream);
  if (in.key_dim == 128) run<128>(in, stream);
  if (in.key_dim == 256) run<256>(in, stream);
}

namespace {

LinearSizes sizes_of(const KernelCall& call) {
  const auto size = [&](std::size_t i) { return static_cast<int>(call.dims[i]); };
  return {size(1), size(2), size(3), size(4)};
}

Case case_of(const KernelClass& cls, const std::string& variant, std::int64_t seqs, const LinearSizes& s) {
  Case c;
  c.call =
      make_call(cls,
                {static_cast<double>(seqs), static_cast<double>(s.heads), static_cast<double>(s.key_heads),
                 static_cast<double>(s.key_dim), static_cast<double>(s.value_dim)},
                DType::bf16, DType::fp32);
  c.variant = variant;
  return c;
}

class DecodeInstance final : public Instance {
 public:
  explicit DecodeInstance(const Case& c)
      : problem_(sizes_of(c.call), linear_rule(c.variant),
                 std::vector<std::int64_t>(static_cast<std::size_t>(c.call.dims[0]), 1), c.seed) {}
  void launch(StreamRef stream) override { linear_decode(problem_.inputs(), stream); }
  Check check() override {
    return problem_.check([&] { linear_decode(problem_.inputs(), nullptr); }, 6e-3);
  }

 private:
  LinearProblem problem_;
};

class LinearDecode final : public Component {
 public:
  std::string_view source() const override {
    return "Katharopoulos et al., Transformers are RNNs, 2020, eq. 16-20; Yang et al., DeltaNet, 2024";
  }
  std::vector<Case> sweep(const DeviceInfo&) const override;
  std::vector<Case> checks() const override {
    return {case_of(kLinearAttentionDecode, "additive", 1, {1, 1, 64, 64}),
            case_of(kLinearAttentionDecode, "constant_decay", 2, {4, 2, 128, 128}),
            case_of(kLinearAttentionDecode, "scalar_gate", 3, {2, 1, 256, 64}),
            case_of(kGatedLinearAttentionDecode, "vector_gate", 2, {2, 2, 64, 128}),
            case_of(kGatedLinearAttentionDecode, "vector_gate", 1, {3, 3, 256, 64}),
            case_of(kDeltaRuleDecode, "delta", 2, {2, 1, 64, 64}),
            case_of(kDeltaRuleDecode, "gated_delta", 3, {4, 2, 128, 128}),
            case_of(kDeltaRuleDecode, "gated_delta", 1, {1, 1, 256, 128}),
            case_of(kGatedDeltaRuleDecode, "vector_gated_delta", 2, {2, 1, 128, 64})};
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto variants = linear_variants(*call.cls);
    const bool decodes = call.cls->scaling == KernelClass::Scaling::decode;
    if (variants.empty() || !decodes || !knows(sizes_of(call))) return {};
    return {case_of(*call.cls, variants.front(), static_cast<std::int64_t>(call.dims[0]), sizes_of(call))};
  }
  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    const double seqs = c.call.dims[0];
    if (linear_problem_bytes(seqs, seqs, sizes_of(c.call), 0) >
        0.85 * static_cast<double>(device.memory_bytes))
      return "states larger than the device's memory";
    return std::nullopt;
  }
  std::unique_ptr<Instance> make(const Case& c) const override { return std::make_unique<DecodeInstance>(c); }
};

/// Heads of Qwen3-Next, MiniMax-01, Kimi Linear, GLA 1.3B, and their shards.
std::vector<Case> LinearDecode::sweep(const DeviceInfo&) const {
  const std::vector<std::int64_t> batches{64, 1, 256, 16, 128, 4, 512, 32, 8, 2}, few{64, 1, 256, 8};
  std::vector<Case> cases;
  const auto add = [&](const KernelClass& cls, const char* variant, const std::vector<LinearSizes>& sizes,
                       const std::vector<std::int64_t>& seqs) {
    for (const LinearSizes& s : sizes) {
      for (const auto n : seqs) cases.push_back(case_of(cls, variant, n, s));
    }
  };
  add(kDeltaRuleDecode, "gated_delta", {{32, 16, 128, 128}}, batches);
  add(kLinearAttentionDecode, "constant_decay", {{64, 64, 128, 128}}, batches);
  add(kGatedDeltaRuleDecode, "vector_gated_delta", {{32, 32, 128, 128}}, batches);
  add(kGatedLinearAttentionDecode, "vector_gate", {{4, 4, 256, 512}}, batches);
  add(kDeltaRuleDecode, "gated_delta", {{8, 4, 128, 128}, {4, 2, 128, 128}, {64, 16, 128, 128}}, few);
  add(kLinearAttentionDecode, "constant_decay", {{8, 8, 128, 128}, {8, 8, 256, 512}}, few);
  add(kLinearAttentionDecode, "scalar_gate", {{32, 32, 64, 64}, {32, 32, 128, 128}}, few);
  add(kLinearAttentionDecode, "additive", {{16, 16, 64, 64}}, few);
  add(kGatedDeltaRuleDecode, "vector_gated_delta", {{8, 8, 128, 128}, {16, 16, 64, 64}}, few);
  add(kGatedLinearAttentionDecode, "vector_gate", {{16, 16, 128, 128}, {32, 32, 64, 64}}, few);
  add(kDeltaRuleDecode, "delta", {{16, 16, 128, 128}}, few);
  return cases;
}

const LinearDecode component;

}  // namespace

const Registration<Components> linear_decode_component{
    "linear_decode", "one token per sequence against matrix states: update and readout", &component};

}  // namespace orrery::kernels
