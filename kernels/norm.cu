#include <cmath>

#include "device/warp.cuh"
#include "norm.hpp"
#include "random.hpp"
#include "row_cases.hpp"

// RMSNorm (Zhang and Sennrich, 2019, eq. 4) and LayerNorm (Ba et al., 2016, eq. 4), with the residual
// addition before it in the same kernel, as engines fuse it, and the norm of each query and key head (Qwen3).
// Bound by memory: a row is read once in 16-byte accesses, kept in registers, and written once; one block per
// token, one warp per head.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarpSize;
constexpr int kPer = kPerLoad<bf16>;
constexpr int kMaxWidth = 16384;

/// `packs` 16-byte packs per thread hold the row: compiled for the smallest number that does, so that they
/// stay in registers.
template <int packs>
__global__ void __launch_bounds__(kThreads) norm_kernel(NormArgs args) {
  __shared__ float scratch[2 * kWarps];
  const std::size_t row = std::size_t{blockIdx.x} * static_cast<std::size_t>(args.width);
  const int thread = static_cast<int>(threadIdx.x), count = args.width / kPer;
  float values[packs][kPer];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < packs; ++i) {
    const int pack = thread + i * kThreads;
    if (pack < count) {
      const std::size_t at = row + static_cast<std::size_t>(pack) * kPer;
      auto stream = load_pack<kPer>(args.stream + at);
      if (args.x != nullptr) {
        const auto x = load_pack<kPer>(args.x + at);
#pragma unroll
        for (int j = 0; j < kPer; ++j)
          stream.v[j] = from_float<bf16>(to_float(stream.v[j]) + to_float(x.v[j]));
        store_pack(args.stream + at, stream);
      }
#pragma unroll
      for (int j = 0; j < kPer; ++j) values[i][j] = to_float(stream.v[j]), sum += values[i][j];
    } else {
#pragma unroll
      for (int j = 0; j < kPer; ++j) values[i][j] = 0;
    }
  }
  const float n = static_cast<float>(args.width);
  const float mean = args.subtract_mean ? block_sum<kWarps>(sum, scratch) / n : 0;
  float squares = 0;
#pragma unroll
  for (int i = 0; i < packs; ++i) {
    if (thread + i * kThreads < count) {
#pragma unroll
      for (int j = 0; j < kPer; ++j) values[i][j] -= mean, squares += values[i][j] * values[i][j];
    }
  }
  const float scale = rsqrtf(block_sum<kWarps>(squares, scratch + kWarps) / n + args.epsilon);
#pragma unroll
  for (int i = 0; i < packs; ++i) {
    const int pack = thread + i * kThreads;
    if (pack >= count) continue;
    const auto weight = load_pack<kPer>(args.weight + pack * kPer);
    Pack<bf16, kPer> bias{};
    if (args.bias != nullptr) bias = load_pack<kPer>(args.bias + pack * kPer);
    const std::size_t at = row + static_cast<std::size_t>(pack) * kPer;
    Pack<bf16, kPer> y;
    Pack<fp8, kPer> y_fp8;
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
      const float result = values[i][j] * scale * to_float(weight.v[j]) + to_float(bias.v[j]);
      y.v[j] = from_float<bf16>(result), y_fp8.v[j] = from_float<fp8>(result / args.fp8_scale);
    }
    if (args.y_fp8 != nullptr) {
      store_pack(args.y_fp8 + at, y_fp8);
    } else {
      store_pack(args.y + at, y);
    }
  }
}

/// One warp per (token, head): a head of up to 256 elements is one pack per lane.
__global__ void __launch_bounds__(kThreads) qk_norm_kernel(QkNormArgs args) {
  const int normed = args.heads + args.kv_heads;
  const std::int64_t unit = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;
  const bool live = unit < args.tokens * normed;  // all lanes of a warp alike
  const int head = live ? static_cast<int>(unit % normed) : 0, at = lane_id() * kPer;
  bf16* row = args.qkv + (live ? unit / normed : 0) * args.row_width + head * args.head_dim;
  const bool mine = live && at < args.head_dim;
  Pack<bf16, kPer> x{};
  if (mine) x = load_pack<kPer>(row + at);
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kPer; ++j) squares += to_float(x.v[j]) * to_float(x.v[j]);
  const float scale = rsqrtf(warp_sum(squares) / static_cast<float>(args.head_dim) + args.epsilon);
  if (!mine) return;
  const auto weight = load_pack<kPer>((head < args.heads ? args.q_weight : args.k_weight) + at);
#pragma unroll
  for (int j = 0; j < kPer; ++j) x.v[j] = from_float<bf16>(to_float(x.v[j]) * scale * to_float(weight.v[j]));
  store_pack(row + at, x);
}

}  // namespace

void norm_rows(const NormArgs& args, StreamRef stream) {
  if (args.tokens == 0) return;
  const LaunchShape shape{dim3(static_cast<unsigned>(args.tokens)), dim3(kThreads), 0, stream};
  const int packs = ceil_div(args.width, kThreads * kPer);
  const auto kernel = packs <= 1   ? norm_kernel<1>
                      : packs <= 2 ? norm_kernel<2>
                      : packs <= 4 ? norm_kernel<4>
                                   : norm_kernel<kMaxWidth / (kThreads * kPer)>;
  launch(kernel, shape, args);
}

void qk_norm(const QkNormArgs& args, StreamRef stream) {
  if (args.tokens == 0) return;
  const std::int64_t units = args.tokens * (args.heads + args.kv_heads);
  const auto blocks = static_cast<unsigned>(ceil_div<std::int64_t>(units, kWarps));
  launch(qk_norm_kernel, {dim3(blocks), dim3(kThreads), 0, stream}, args);
}

namespace {

/// Normalises row[0, n) with weight and bias in double precision.
void reference_norm(double* row, std::size_t n, const double* weight, const double* bias, bool subtract_mean,
                    double epsilon) {
  double mean = 0, squares = 0;
  for (std::size_t i = 0; i < n; ++i) mean += row[i] / static_cast<double>(n);
  if (!subtract_mean) mean = 0;
  for (std::size_t i = 0; i < n; ++i) squares += (row[i] - mean) * (row[i] - mean) / static_cast<double>(n);
  const double scale = 1 / std::sqrt(squares + epsilon);
  for (std::size_t i = 0; i < n; ++i)
    row[i] = (row[i] - mean) * scale * weight[i] + (bias == nullptr ? 0 : bias[i]);
}

struct NormKind {
  bool residual = false, layer = false, to_fp8 = false;
};

class NormInstance final : public Instance {
 public:
  NormInstance(std::int64_t tokens, int width, NormKind kind, std::uint64_t seed) : seed_(seed) {
    const auto n = static_cast<std::size_t>(tokens * width), w = static_cast<std::size_t>(width);
    stream_ = random_array<bf16>(n, seed);
    weight_ = random_array<bf16>(w, seed + 2);
    args_.stream = stream_.data(), args_.weight = weight_.data(), args_.tokens = tokens, args_.width = width;
    args_.subtract_mean = kind.layer;
    if (kind.residual) x_ = random_array<bf16>(n, seed + 1), args_.x = x_.data();
    if (kind.layer) bias_ = random_array<bf16>(w, seed + 3), args_.bias = bias_.data();
    if (kind.to_fp8) {
      y_fp8_ = poisoned_array<fp8>(n), args_.y_fp8 = y_fp8_.data(), args_.fp8_scale = 0.02F;
    } else {
      y_ = poisoned_array<bf16>(n), args_.y = y_.data();
    }
  }

  void launch(StreamRef stream) override { norm_rows(args_, stream); }

  Check check() override {
    fill_random(stream_.data(), stream_.size(), seed_, 1.0F);  // launches before this one have added x to it
    auto reference = to_doubles(stream_);
    norm_rows(args_, nullptr);
    const auto weight = to_doubles(weight_), bias = to_doubles(bias_);
    if (args_.x != nullptr) {
      const auto x = to_doubles(x_);
      for (std::size_t i = 0; i < x.size(); ++i) reference[i] += x[i];
    }
    const auto width = static_cast<std::size_t>(args_.width);
    for (std::size_t row = 0; row < reference.size(); row += width) {
      reference_norm(reference.data() + row, width, weight.data(), bias.empty() ? nullptr : bias.data(),
                     args_.subtract_mean, static_cast<double>(args_.epsilon));
    }
    auto y = args_.y != nullptr ? to_doubles(y_) : to_doubles(y_fp8_);
    if (args_.y == nullptr) {
      for (double& v : y) v *= static_cast<double>(args_.fp8_scale);
    }
    return compare(y, reference, args_.y != nullptr ? 6e-3 : 4e-2);
  }

 private:
  DeviceArray<bf16> stream_, x_, weight_, bias_, y_;
  DeviceArray<fp8> y_fp8_;
  std::uint64_t seed_;
  NormArgs args_;
};

class QkNormInstance final : public Instance {
 public:
  QkNormInstance(std::int64_t tokens, int heads, int kv_heads, int head_dim, std::uint64_t seed)
      : seed_(seed) {
    const int row = (heads + 2 * kv_heads) * head_dim;
    qkv_ = random_array<bf16>(static_cast<std::size_t>(tokens * row), seed);
    q_weight_ = random_array<bf16>(static_cast<std::size_t>(head_dim), seed + 1);
    k_weight_ = random_array<bf16>(static_cast<std::size_t>(head_dim), seed + 2);
    args_ = {qkv_.data(), q_weight_.data(), k_weight_.data(), tokens, row, heads, kv_heads, head_dim, 1e-6F};
  }
  void launch(StreamRef stream) override { qk_norm(args_, stream); }

  Check check() override {
    fill_random(qkv_.data(), qkv_.size(), seed_, 1.0F);  // launches before this one have normed it
    auto reference = to_doubles(qkv_);
    qk_norm(args_, nullptr);
    const auto q = to_doubles(q_weight_), k = to_doubles(k_weight_);
    for (std::int64_t t = 0; t < args_.tokens; ++t) {
      for (int h = 0; h < args_.heads + args_.kv_heads; ++h) {
        reference_norm(reference.data() + t * args_.row_width + h * args_.head_dim,
                       static_cast<std::size_t>(args_.head_dim), h < args_.heads ? q.data() : k.data(),
                       nullptr, false, static_cast<double>(args_.epsilon));
      }
    }
    return compare(to_doubles(qkv_), reference, 6e-3);
  }

 private:
  DeviceArray<bf16> qkv_, q_weight_, k_weight_;
  std::uint64_t seed_;
  QkNormArgs args_;
};

class Norm final : public Component {
 public:
  std::string_view source() const override {
    return "Zhang and Sennrich, Root Mean Square Layer Normalization, 2019, eq. 4";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const std::int64_t width : {4096, 8192, 2048, 1024, 5120, 2560, 16384}) {
      for (const auto tokens : row_token_counts()) cases.push_back(of("add_rms_norm", tokens, width));
    }
    for (const auto tokens : row_token_counts()) {
      cases.push_back(qk(tokens, 32, 8, 128));
      cases.push_back(of("add_rms_norm_fp8", tokens, 4096));
      cases.push_back(of("layer_norm", tokens, 4096));
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    return {of("rms_norm", 1, 8),
            of("add_rms_norm", 3, 2048),
            of("add_rms_norm", 2, 2056),
            of("rms_norm", 2, 16384),
            of("layer_norm", 3, 1032),
            of("add_rms_norm_fp8", 2, 4104),
            qk(3, 4, 2, 64),
            qk(2, 5, 1, 128),
            qk(1, 1, 1, 256)};
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto tokens = static_cast<std::int64_t>(call.dims[0]),
               bytes = static_cast<std::int64_t>(call.dims[1]);
    if (call.cls != &kNorm || bytes % 64 != 0 || bytes / 8 > kMaxWidth) return {};
    return {of("add_rms_norm", tokens, bytes / 8)};
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    if (c.variant == "qk_norm") {
      return std::make_unique<QkNormInstance>(tokens_of(c), static_cast<int>(c.option("heads", 32)),
                                              static_cast<int>(c.option("kv_heads", 8)), width_of(c), c.seed);
    }
    const NormKind kind{c.variant.starts_with("add_"), c.variant == "layer_norm",
                        c.variant.ends_with("_fp8")};
    return std::make_unique<NormInstance>(tokens_of(c), width_of(c), kind, c.seed);
  }

 private:
  /// The stream is read, with a residual the addend too and the stream written; the result is written.
  static Case of(const std::string& variant, std::int64_t tokens, std::int64_t width) {
    const std::int64_t residual = variant.starts_with("add_") ? 4 : 0,
                       result = variant.ends_with("_fp8") ? 1 : 2;
    return row_case(kNorm, variant, tokens, width, width * (2 + residual + result));
  }
  static Case qk(std::int64_t tokens, std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim) {
    Case c = row_case(kNorm, "qk_norm", tokens, head_dim, (heads + kv_heads) * head_dim * 4);
    c.with["heads"] = heads, c.with["kv_heads"] = kv_heads;
    return c;
  }
};

const Norm component;

}  // namespace

const Registration<Components> norm{
    "norm", "RMSNorm and LayerNorm with the residual addition; norm of query and key heads", &component};

}  // namespace orrery::kernels
