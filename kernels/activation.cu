#include <cmath>

#include "activation.hpp"
#include "device/warp.cuh"
#include "random.hpp"
#include "row_cases.hpp"

// Gated units between the two halves of a feed-forward (Shazeer, GLU Variants Improve Transformer, 2020) and
// the plain residual addition. Bound by memory: every element is read once and written once in 16-byte
// accesses, four in flight per thread.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kPer = kPerLoad<bf16>;

ORRERY_DEVICE float activate(float x, Gate gate) {
  if (gate == Gate::silu) return silu(x);
  // GELU's tanh form (Hendrycks and Gimpel, 2016, section 2): tanh(y) = 2 sigmoid(2y) - 1.
  const float y = 0.7978845608F * (x + 0.044715F * x * x * x);
  return x * sigmoid(2.0F * y);
}

__global__ void __launch_bounds__(kThreads) gated_kernel(GatedActivationArgs args) {
  const std::int64_t packs = args.width / kPer, total = args.tokens * packs;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < total;
       i += stride) {
    const std::int64_t token = i / packs, column = i % packs * kPer;
    const bf16* row = args.gate_up + token * 2 * args.width;
    const auto gate = load_pack<kPer>(row + column);
    const auto up = load_pack<kPer>(row + args.width + column);
    float y[kPer];
#pragma unroll
    for (int j = 0; j < kPer; ++j) y[j] = activate(to_float(gate.v[j]), args.gate) * to_float(up.v[j]);
    if (args.out_fp8 != nullptr) {
      Pack<fp8, kPer> out;
#pragma unroll
      for (int j = 0; j < kPer; ++j) out.v[j] = from_float<fp8>(y[j] / args.fp8_scale);
      store_pack(args.out_fp8 + token * args.width + column, out);
    } else {
      Pack<bf16, kPer> out;
#pragma unroll
      for (int j = 0; j < kPer; ++j) out.v[j] = from_float<bf16>(y[j]);
      store_pack(args.out + token * args.width + column, out);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    add_kernel(bf16* out, const bf16* a, const bf16* b, std::int64_t packs) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < packs;
       i += stride) {
    const auto x = load_pack<kPer>(a + i * kPer);
    const auto y = load_pack<kPer>(b + i * kPer);
    Pack<bf16, kPer> sum;
#pragma unroll
    for (int j = 0; j < kPer; ++j) sum.v[j] = from_float<bf16>(to_float(x.v[j]) + to_float(y.v[j]));
    store_pack(out + i * kPer, sum);
  }
}

/// Enough blocks to fill any GPU several times over, few enough that each does some work.
LaunchShape shape(std::int64_t packs, StreamRef stream) {
  const auto blocks = std::min<std::int64_t>(ceil_div<std::int64_t>(packs, kThreads), 132 * 16);
  return {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream};
}

}  // namespace

void gated_activation(const GatedActivationArgs& args, StreamRef stream) {
  if (args.tokens > 0) launch(gated_kernel, shape(args.tokens * args.width / kPer, stream), args);
}

void residual_add(bf16* out, const bf16* a, const bf16* b, std::int64_t n, StreamRef stream) {
  if (n > 0) launch(add_kernel, shape(n / kPer, stream), out, a, b, n / kPer);
}

namespace {

double reference_activation(double x, Gate gate) {
  if (gate == Gate::silu) return x / (1 + std::exp(-x));
  return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

class GatedInstance final : public Instance {
 public:
  GatedInstance(std::int64_t tokens, int width, Gate gate, bool to_fp8, std::uint64_t seed)
      : gate_up_(random_array<bf16>(static_cast<std::size_t>(tokens * 2 * width), seed, 4.0F)) {
    const auto n = static_cast<std::size_t>(tokens * width);
    args_.gate_up = gate_up_.data(), args_.tokens = tokens, args_.width = width, args_.gate = gate;
    if (to_fp8) {
      out_fp8_ = poisoned_array<fp8>(n);
      args_.out_fp8 = out_fp8_.data(), args_.fp8_scale = 0.05F;
    } else {
      out_ = poisoned_array<bf16>(n);
      args_.out = out_.data();
    }
  }
  void launch(StreamRef stream) override { gated_activation(args_, stream); }

  Check check() override {
    const auto in = to_doubles(gate_up_);
    auto out = args_.out != nullptr ? to_doubles(out_) : to_doubles(out_fp8_);
    std::vector<double> reference;
    for (std::int64_t t = 0; t < args_.tokens; ++t) {
      const double* row = in.data() + t * 2 * args_.width;
      for (int i = 0; i < args_.width; ++i) {
        reference.push_back(reference_activation(row[i], args_.gate) * row[args_.width + i]);
      }
    }
    if (args_.out == nullptr) {
      for (double& y : out) y *= static_cast<double>(args_.fp8_scale);
    }
    return compare(out, reference, args_.out != nullptr ? 4e-3 : 4e-2);
  }

 private:
  DeviceArray<bf16> gate_up_, out_;
  DeviceArray<fp8> out_fp8_;
  GatedActivationArgs args_;
};

class AddInstance final : public Instance {
 public:
  AddInstance(std::size_t n, std::uint64_t seed)
      : a_(random_array<bf16>(n, seed)), b_(random_array<bf16>(n, seed + 1)), out_(poisoned_array<bf16>(n)) {}
  void launch(StreamRef stream) override {
    residual_add(out_.data(), a_.data(), b_.data(), static_cast<std::int64_t>(a_.size()), stream);
  }
  Check check() override {
    auto sum = to_doubles(a_);
    const auto b = to_doubles(b_);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += b[i];
    return compare(to_doubles(out_), sum, 4e-3);
  }

 private:
  DeviceArray<bf16> a_, b_, out_;
};

class Activation final : public Component {
 public:
  std::string_view source() const override { return "Shazeer, GLU Variants Improve Transformer, 2020"; }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const std::int64_t width : {14336, 4096, 28672, 3072, 7168, 9728, 25600, 1024}) {
      for (const auto tokens : row_token_counts()) cases.push_back(of("swiglu", tokens, width));
    }
    for (const auto tokens : row_token_counts()) {
      cases.push_back(of("swiglu_fp8", tokens, 14336));
      cases.push_back(of("geglu", tokens, 14336));
      for (const std::int64_t width : {4096, 8192}) cases.push_back(of("residual_add", tokens, width));
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    return {of("swiglu", 1, 8), of("swiglu", 3, 2056), of("geglu", 5, 256), of("swiglu_fp8", 2, 72),
            of("residual_add", 3, 264)};
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto tokens = static_cast<std::int64_t>(call.dims[0]),
               bytes = static_cast<std::int64_t>(call.dims[1]);
    if (call.cls == &kActivation && bytes % 48 == 0) return {of("swiglu", tokens, bytes / 6)};
    if (call.cls == &kResidualAdd && bytes % 48 == 0) return {of("residual_add", tokens, bytes / 6)};
    return {};
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    if (c.call.cls == &kResidualAdd) {
      return std::make_unique<AddInstance>(static_cast<std::size_t>(tokens_of(c) * width_of(c)), c.seed);
    }
    const Gate gate = c.variant == "geglu" ? Gate::gelu_tanh : Gate::silu;
    return std::make_unique<GatedInstance>(tokens_of(c), width_of(c), gate, c.variant == "swiglu_fp8",
                                           c.seed);
  }

 private:
  /// Both halves or both operands are read, one row is written.
  static Case of(const char* variant, std::int64_t tokens, std::int64_t width) {
    const std::string v = variant;
    const std::int64_t bytes = width * (v == "swiglu_fp8" ? 5 : 6);
    return row_case(v == "residual_add" ? kResidualAdd : kActivation, v, tokens, width, bytes);
  }
};

const Activation component;

}  // namespace

const Registration<Components> activation{"activation", "SwiGLU and GeGLU, to bf16 or fp8; residual addition",
                                          &component};

}  // namespace orrery::kernels
