#include <cmath>

#include "device/platform.cuh"
#include "linear_problem.hpp"
#include "ops/recurrent.hpp"
#include "random.hpp"
#include "ssd.hpp"

// Mamba-2's state-space duality (Dao and Gu, 2024): linear attention with a scalar decay, C, B and x in the
// roles of queries, keys and values (section 7.2), shared by groups of heads. One small kernel computes the
// decays; the chunks and single tokens are linear_attention.cu's and linear_decode.cu's, and so are the
// bounds and aims.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) gates_kernel(SsdGateArgs args) {
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= args.tokens * args.heads) return;
  const std::int64_t head = at % args.heads;
  const float x = to_float(args.delta[at]) + args.bias[head];
  const float delta = x > 20.0F ? x : log1pf(fast_exp(x));
  args.beta[at] = delta;
  args.decay[at] = -fast_exp(args.a_log[head]) * delta;
}

}  // namespace

void ssd_gates(const SsdGateArgs& args, StreamRef stream) {
  if (args.tokens == 0) return;
  const auto blocks = static_cast<unsigned>(ceil_div<std::int64_t>(args.tokens * args.heads, kThreads));
  launch(gates_kernel, {dim3(blocks), dim3(kThreads), 0, stream}, args);
}

namespace {

struct Shape {
  std::int64_t tokens, seqs;
  LinearSizes sizes;
  int chunk;  ///< 0: one token per sequence
};
Shape shape_of(const KernelCall& call) {
  const auto size = [&](std::size_t i) { return static_cast<int>(call.dims[i]); };
  if (call.cls == &kSsdDecode) return {size(0), size(0), {size(1), size(2), size(3), size(4)}, 0};
  return {size(0), size(1), {size(2), size(3), size(4), size(5)}, size(6)};
}

class SsdInstance final : public Instance {
 public:
  SsdInstance(const Shape& s, bool ragged, std::uint64_t seed)
      : problem_(s.sizes, linear_rule("ssd"), prompt_lengths(s.tokens, s.seqs, ragged), seed),
        decodes_(s.chunk == 0) {
    if (!decodes_) chunked_.emplace(problem_, s.chunk);
    const auto heads = static_cast<std::size_t>(s.sizes.heads);
    delta_ = random_array<bf16>(static_cast<std::size_t>(s.tokens) * heads, seed + 10);
    bias_ = random_array<float>(heads, seed + 11), a_log_ = random_array<float>(heads, seed + 12);
    gates_ = {delta_.data(),    bias_.data(), a_log_.data(), problem_.beta(),
              problem_.decay(), s.tokens,     s.sizes.heads};
  }
  void launch(StreamRef stream) override {
    ssd_gates(gates_, stream);
    if (decodes_) {
      linear_decode(problem_.inputs(), stream);
    } else {
      linear_attention(chunked_->args(), stream);
    }
  }
  Check check() override {
    const Check mixed = problem_.check([&] { launch(nullptr); }, decodes_ ? 6e-3 : 1e-2);
    const Check gates = check_gates();
    return gates.passed() ? mixed : gates;
  }

 private:
  Check check_gates() const {
    const auto delta = to_doubles(delta_), bias = to_doubles(bias_), a_log = to_doubles(a_log_);
    std::vector<double> out, expected;
    const std::size_t n = delta.size(), heads = bias.size();
    std::vector<float> beta(n), decay(n);
    copy_async(beta.data(), gates_.beta, n * sizeof(float), nullptr);
    copy_async(decay.data(), gates_.decay, n * sizeof(float), nullptr);
    synchronize(nullptr);
    for (std::size_t i = 0; i < n; ++i) {
      const double strength = std::log1p(std::exp(delta[i] + bias[i % heads]));
      out.push_back(static_cast<double>(beta[i])), expected.push_back(strength);
      out.push_back(static_cast<double>(decay[i])),
          expected.push_back(-std::exp(a_log[i % heads]) * strength);
    }
    return compare(out, expected, 1e-5);
  }

  LinearProblem problem_;
  std::optional<ChunkedProblem> chunked_;
  bool decodes_;
  DeviceArray<bf16> delta_;
  DeviceArray<float> bias_, a_log_;
  SsdGateArgs gates_;
};

class Ssd final : public Component {
 public:
  std::string_view source() const override {
    return "Dao and Gu, Transformers are SSMs (Mamba-2), 2024, sections 6 and 7";
  }
  std::vector<Case> sweep(const DeviceInfo&) const override;
  std::vector<Case> checks() const override {
    return {prompts(1, 1, {2, 1, 64, 64}, 64),
            prompts(65, 1, {2, 2, 128, 64}, 64),
            prompts(100, 2, {2, 1, 128, 64}, 64, true),
            prompts(129, 1, {2, 1, 64, 64}, 128),
            prompts(33, 1, {1, 1, 256, 64}, 64),
            tokens(3, {4, 2, 128, 64}),
            tokens(1, {2, 1, 64, 64}),
            tokens(2, {2, 1, 256, 64})};
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    if (call.cls != &kSsd && call.cls != &kSsdDecode) return {};
    const Shape s = shape_of(call);
    const bool known =
        linear_attention_knows(s.sizes.key_dim, s.sizes.value_dim, s.chunk == 0 ? 64 : s.chunk, false, false);
    if (!known || s.sizes.key_heads < 1 || s.sizes.heads % s.sizes.key_heads != 0) return {};
    return {s.chunk == 0 ? tokens(s.seqs, s.sizes) : prompts(s.tokens, s.seqs, s.sizes, s.chunk)};
  }
  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    const Shape s = shape_of(c.call);
    if (device.cc_major < 8)
      return "asynchronous copies and bf16 tensor cores begin with compute capability 8.0";
    if (s.chunk != 0 &&
        linear_attention_shared_bytes(s.sizes.key_dim, s.chunk, false, false) > device.shared_bytes_per_block)
      return "more shared memory per block than the device has";
    if (linear_problem_bytes(static_cast<double>(s.tokens), static_cast<double>(s.seqs), s.sizes, s.chunk) >
        0.85 * static_cast<double>(device.memory_bytes))
      return "states and tokens larger than the device's memory";
    return std::nullopt;
  }
  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<SsdInstance>(shape_of(c.call), c.option("ragged", 0) != 0, c.seed);
  }

 private:
  static Case prompts(std::int64_t tokens, std::int64_t seqs, const LinearSizes& s, int chunk,
                      bool ragged = false) {
    Case c;
    c.call = make_call(kSsd,
                       {static_cast<double>(tokens), static_cast<double>(seqs), static_cast<double>(s.heads),
                        static_cast<double>(s.key_heads), static_cast<double>(s.key_dim),
                        static_cast<double>(s.value_dim), static_cast<double>(chunk)},
                       DType::bf16, DType::fp32);
    c.variant = "three_passes";
    if (ragged) c.with["ragged"] = 1;
    return c;
  }
  static Case tokens(std::int64_t seqs, const LinearSizes& s) {
    Case c;
    c.call =
        make_call(kSsdDecode,
                  {static_cast<double>(seqs), static_cast<double>(s.heads), static_cast<double>(s.key_heads),
                   static_cast<double>(s.key_dim), static_cast<double>(s.value_dim)},
                  DType::bf16, DType::fp32);
    c.variant = "fused";
    return c;
  }
};

/// Heads of Mamba-2 2.7B and 1.3B, Codestral Mamba and Nemotron-H, Zamba2 7B, Falcon-H1, and shards.
std::vector<Case> Ssd::sweep(const DeviceInfo&) const {
  std::vector<Case> cases;
  const std::vector<std::int64_t> batches{64, 1, 256, 16, 128, 4, 512, 32};
  for (const LinearSizes& s : {LinearSizes{80, 1, 128, 64},
                               {128, 8, 128, 64},
                               {16, 1, 128, 64},
                               {64, 1, 128, 64},
                               {112, 2, 64, 64},
                               {32, 1, 256, 64},
                               {64, 4, 128, 64}}) {
    for (const std::int64_t n : batches) cases.push_back(tokens(n, s));
    for (const std::int64_t n : {2048, 8192, 512, 128, 4096, 1024, 16384, 256})
      cases.push_back(prompts(n, 1, s, 64));
    cases.push_back(prompts(8192, 8, s, 64));
    cases.push_back(prompts(8192, 4, s, 64, true));
    if (s.key_dim <= 128) cases.push_back(prompts(8192, 1, s, 128));
  }
  return cases;
}

const Ssd component;

}  // namespace

const Registration<Components> ssd_component{"ssd", "Mamba-2 in chunks and token by token", &component};

}  // namespace orrery::kernels
