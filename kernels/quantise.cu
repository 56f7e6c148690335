#include "component.hpp"
#include "device/warp.cuh"
#include "quantise.hpp"
#include "random.hpp"
#include "row_cases.hpp"

// Activations to fp8 or int8 before a GEMM of these formats. Memory-bound: each element is read once in
// 16-byte accesses, kept in registers while the largest is found, and written once. Aim: 85% of the bandwidth
// of a copy where rows exceed the caches.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxPacks = 16;  // of 8 elements, per thread: rows of up to 32768
constexpr int kPer = kPerLoad<bf16>;
constexpr int kGroup = 128;
constexpr int kGroupLanes = kGroup / kPer;
using Eight = Pack<bf16, kPer>;

template <class T>
inline constexpr float kLargest = std::is_same_v<T, fp8> ? 448.0F : 127.0F;

ORRERY_DEVICE float largest(const Eight& x) {
  float most = 0;
#pragma unroll
  for (int j = 0; j < kPer; ++j) most = fmaxf(most, fabsf(to_float(x.v[j])));
  return most;
}
/// Rows of zeros get a scale that divides.
template <class T>
ORRERY_DEVICE float scale_of(float most) {
  return fmaxf(most, 1e-10F) / kLargest<T>;
}
template <class T>
ORRERY_DEVICE void store_scaled(T* out, const Eight& x, float inverse) {
  Pack<T, kPer> q;
#pragma unroll
  for (int j = 0; j < kPer; ++j) q.v[j] = from_float<T>(to_float(x.v[j]) * inverse);
  store_pack(out, q);
}

/// One block per token.
template <class T>
__global__ void __launch_bounds__(kThreads) token_kernel(QuantiseArgs args, T* out) {
  __shared__ float scratch[kThreads / kWarpSize];
  const std::size_t row = std::size_t{blockIdx.x} * static_cast<std::size_t>(args.width);
  const int packs = args.width / kPer, thread = static_cast<int>(threadIdx.x);
  Eight x[kMaxPacks];
  float most = 0;
#pragma unroll
  for (int i = 0; i < kMaxPacks; ++i) {
    const int pack = thread + i * kThreads;
    if (pack >= packs) break;
    x[i] = load_pack<kPer>(args.x + row + static_cast<std::size_t>(pack) * kPer);
  }
#pragma unroll
  for (int i = 0; i < kMaxPacks; ++i) {
    if (thread + i * kThreads >= packs) break;
    most = fmaxf(most, largest(x[i]));
  }
  const float scale = scale_of<T>(block_max<kThreads / kWarpSize>(most, scratch));
  if (thread == 0) args.scale[blockIdx.x] = scale;
#pragma unroll
  for (int i = 0; i < kMaxPacks; ++i) {
    const int pack = thread + i * kThreads;
    if (pack >= packs) break;
    store_scaled(out + row + static_cast<std::size_t>(pack) * kPer, x[i], 1.0F / scale);
  }
}

/// Sixteen lanes per group of 128 elements; with a given scale the groups only share out the work.
template <class T, bool given>
__global__ void __launch_bounds__(kThreads) group_kernel(QuantiseArgs args, T* out) {
  const int lane = lane_id() % kGroupLanes;
  const std::int64_t groups = ceil_div(args.width, kGroup);
  const std::int64_t group = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) / kGroupLanes;
  const std::int64_t token = group / groups, column = group % groups * kGroup + lane * kPer;
  const bool inside = token < args.tokens && column < args.width;
  const std::int64_t at = token * args.width + column;
  Eight x{};
  if (inside) x = load_pack<kPer>(args.x + at);
  float scale;
  if constexpr (given) {
    scale = args.scale[0];
  } else {
    float most = largest(x);
#pragma unroll
    for (int mask = kGroupLanes / 2; mask > 0; mask /= 2) most = fmaxf(most, shfl_xor(most, mask));
    scale = scale_of<T>(most);
    if (lane == 0 && token < args.tokens) args.scale[group % groups * args.tokens + token] = scale;
  }
  if (inside) store_scaled(out + at, x, 1.0F / scale);
}

template <class T>
void quantise_to(const QuantiseArgs& args, T* out, StreamRef stream) {
  if (args.kind == ActivationScale::token) {
    return launch(token_kernel<T>, {dim3(static_cast<unsigned>(args.tokens)), dim3(kThreads), 0, stream},
                  args, out);
  }
  const std::int64_t lanes = args.tokens * ceil_div(args.width, kGroup) * kGroupLanes;
  const LaunchShape shape{dim3(static_cast<unsigned>(ceil_div<std::int64_t>(lanes, kThreads))),
                          dim3(kThreads), 0, stream};
  if (args.kind == ActivationScale::given) {
    launch(group_kernel<T, true>, shape, args, out);
  } else {
    launch(group_kernel<T, false>, shape, args, out);
  }
}

}  // namespace

void quantise(const QuantiseArgs& args, StreamRef stream) {
  if (args.tokens == 0) return;
  if (args.out_fp8 != nullptr) return quantise_to(args, args.out_fp8, stream);
  quantise_to(args, args.out_int8, stream);
}

namespace {

struct Variant {
  const char* name;
  bool to_int8;
  ActivationScale kind;
};
constexpr Variant kVariants[] = {{"fp8_token", false, ActivationScale::token},
                                 {"fp8_group128", false, ActivationScale::group128},
                                 {"int8_token", true, ActivationScale::token},
                                 {"fp8_given", false, ActivationScale::given}};
const Variant& variant_of(const Case& c) {
  for (const Variant& v : kVariants) {
    if (c.variant == v.name) return v;
  }
  throw std::logic_error("no implementation: " + describe(c));
}

class QuantiseInstance final : public Instance {
 public:
  explicit QuantiseInstance(const Case& c)
      : variant_(variant_of(c)),
        groups_(variant_.kind == ActivationScale::group128 ? ceil_div(width_of(c), kGroup) : 1),
        x_(random_array<bf16>(static_cast<std::size_t>(tokens_of(c) * width_of(c)), c.seed, 4.0F)),
        scale_(poisoned_array<float>(static_cast<std::size_t>(tokens_of(c) * groups_))) {
    args_.x = x_.data(), args_.scale = scale_.data(), args_.kind = variant_.kind;
    args_.tokens = tokens_of(c), args_.width = width_of(c);
    if (variant_.to_int8) {
      int8_ = poisoned_array<std::int8_t>(x_.size());
      args_.out_int8 = int8_.data();
    } else {
      fp8_ = poisoned_array<fp8>(x_.size());
      args_.out_fp8 = fp8_.data();
    }
    if (variant_.kind == ActivationScale::given) {
      scale_.upload(std::vector<float>(scale_.size(), 4.0F / 448));
    }
  }

  void launch(StreamRef stream) override { quantise(args_, stream); }

  Check check() override {
    const auto x = to_doubles(x_), scales = to_doubles(scale_);
    auto out = variant_.to_int8 ? to_doubles(int8_) : to_doubles(fp8_);
    const double limit = variant_.to_int8 ? 127 : 448;
    std::vector<double> largest(scales.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto token = static_cast<std::int64_t>(i) / args_.width,
                 column = static_cast<std::int64_t>(i) % args_.width;
      const auto at = static_cast<std::size_t>(groups_ == 1 ? token : column / kGroup * args_.tokens + token);
      largest[at] = std::max(largest[at], std::abs(x[i]));
      out[i] *= scales[at];
    }
    for (double& v : largest) v /= limit;
    if (variant_.kind != ActivationScale::given) {
      const Check of_scales = compare(scales, largest, 1e-6);
      if (!of_scales.passed()) return of_scales;
    }
    return compare(out, x,
                   variant_.to_int8 ? 6e-3 : 4e-2);  // half a step: 1/254 of the largest, 1/16 of a value
  }

 private:
  const Variant& variant_;
  std::int64_t groups_;
  DeviceArray<bf16> x_;
  DeviceArray<float> scale_;
  DeviceArray<fp8> fp8_;
  DeviceArray<std::int8_t> int8_;
  QuantiseArgs args_;
};

class Quantise final : public Component {
 public:
  std::string_view source() const override {
    return "scales from the largest magnitude: per token, and per 128 elements as DeepSeek-V3, 2024, 3.3.2";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const std::int64_t width : {4096, 14336, 8192, 28672, 2048, 1024}) {
      for (const auto tokens : row_token_counts()) cases.push_back(of("fp8_token", tokens, width));
    }
    for (const Variant& v : kVariants) {
      for (const std::int64_t width : {4096, 14336}) {
        for (const auto tokens : row_token_counts()) {
          if (v.kind != ActivationScale::token || v.to_int8) cases.push_back(of(v.name, tokens, width));
        }
      }
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases{of("fp8_token", 2, 32768)};
    for (const Variant& v : kVariants) {
      for (const std::int64_t width : {8, 120, 128, 136, 2056}) cases.push_back(of(v.name, 3, width));
    }
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto tokens = static_cast<std::int64_t>(call.dims[0]),
               bytes = static_cast<std::int64_t>(call.dims[1]);
    if (call.cls != &kQuantise || bytes % 24 != 0 || bytes / 3 > kMaxPacks * kPer * kThreads) return {};
    std::vector<Case> cases;
    for (const Variant& v : kVariants) cases.push_back(of(v.name, tokens, bytes / 3));
    return cases;
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<QuantiseInstance>(c);
  }

 private:
  /// bf16 in, 8 bits out, as the operator counts; the scales are left out.
  static Case of(const char* variant, std::int64_t tokens, std::int64_t width) {
    return row_case(kQuantise, variant, tokens, width, width * 3);
  }
};

const Quantise component;

}  // namespace

const Registration<Components> quantise_component{
    "quantise", "activations to fp8 or int8, scaled per token or per 128 elements", &component};

}  // namespace orrery::kernels
