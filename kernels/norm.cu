#include <Eigen/Core>

#include "component.hpp"
#include "device/warp.cuh"
#include "norm.hpp"
#include "ops/kernel_classes.hpp"
#include "random.hpp"

// RMSNorm (Zhang and Sennrich, 2019, eq. 4), with the residual addition before it in the same kernel, as
// engines fuse it. One block per token: the row is read once in 16-byte accesses, kept in registers, and
// written once.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxPacks = 8;  // 8 packs x 8 elements x 256 threads = rows of up to 16384

__global__ void __launch_bounds__(kThreads) rms_norm_kernel(RmsNormArgs args) {
  __shared__ float scratch[kThreads / kWarpSize];
  constexpr int per = kPerLoad<bf16>;
  const std::size_t row = std::size_t{blockIdx.x} * static_cast<std::size_t>(args.width);
  const int packs = args.width / per, thread = static_cast<int>(threadIdx.x);
  float values[kMaxPacks][per];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kMaxPacks; ++i) {
    const int pack = thread + i * kThreads;
    if (pack >= packs) break;
    const std::size_t at = row + static_cast<std::size_t>(pack) * per;
    auto sum = load_pack<per>(args.stream + at);
    if (args.x != nullptr) {
      const auto x = load_pack<per>(args.x + at);
      for (int j = 0; j < per; ++j) sum.v[j] = from_float<bf16>(to_float(sum.v[j]) + to_float(x.v[j]));
      store_pack(args.stream + at, sum);
    }
    for (int j = 0; j < per; ++j) values[i][j] = to_float(sum.v[j]), squares += values[i][j] * values[i][j];
  }
  const float mean = block_sum<kThreads / kWarpSize>(squares, scratch) / static_cast<float>(args.width);
  const float scale = rsqrtf(mean + args.epsilon);
#pragma unroll
  for (int i = 0; i < kMaxPacks; ++i) {
    const int pack = thread + i * kThreads;
    if (pack >= packs) break;
    const auto weight = load_pack<per>(args.weight + pack * per);
    Pack<bf16, per> y;
    for (int j = 0; j < per; ++j) y.v[j] = from_float<bf16>(values[i][j] * scale * to_float(weight.v[j]));
    store_pack(args.y + row + static_cast<std::size_t>(pack) * per, y);
  }
}

}  // namespace

void rms_norm(const RmsNormArgs& args, StreamRef stream) {
  if (args.tokens == 0) return;
  launch(rms_norm_kernel, {dim3(static_cast<unsigned>(args.tokens)), dim3(kThreads), 0, stream}, args);
}

namespace {

class NormInstance final : public Instance {
 public:
  NormInstance(std::int64_t tokens, int width, bool residual, std::uint64_t seed)
      : stream_(random_array<bf16>(elements(tokens, width), seed)),
        before_(stream_.download()),
        x_(random_array<bf16>(residual ? elements(tokens, width) : 0, seed + 1)),
        weight_(random_array<bf16>(static_cast<std::size_t>(width), seed + 2)),
        y_(poisoned_array<bf16>(elements(tokens, width))) {
    args_ = {stream_.data(), x_.data(), weight_.data(), y_.data(), tokens, width, 1e-5F};
  }

  void launch(StreamRef stream) override { rms_norm(args_, stream); }

  Check check() override {
    stream_.upload(before_);
    rms_norm(args_, nullptr);
    using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const auto matrix = [&](const std::vector<double>& v) {
      return Matrix(Eigen::Map<const Matrix>(v.data(), args_.tokens, args_.width));
    };
    std::vector<double> start;
    for (const bf16 v : before_) start.push_back(static_cast<double>(to_float(v)));
    Matrix sum = matrix(start);
    if (args_.x != nullptr) sum += matrix(to_doubles(x_));
    const auto weight = to_doubles(weight_);
    const Eigen::VectorXd rms =
        ((sum.array().square().rowwise().sum() / args_.width) + static_cast<double>(args_.epsilon)).sqrt();
    Matrix y = sum.array().colwise() / rms.array();
    y.array().rowwise() *= Eigen::Map<const Eigen::RowVectorXd>(weight.data(), args_.width).array();
    return compare(to_doubles(y_), {y.data(), static_cast<std::size_t>(y.size())}, 8e-3);
  }

 private:
  static std::size_t elements(std::int64_t tokens, int width) {
    return static_cast<std::size_t>(tokens) * static_cast<std::size_t>(width);
  }
  DeviceArray<bf16> stream_;
  std::vector<bf16> before_;
  DeviceArray<bf16> x_, weight_, y_;
  RmsNormArgs args_;
};

class Norm final : public Component {
 public:
  std::string_view source() const override {
    return "Zhang and Sennrich, Root Mean Square Layer Normalization, 2019, eq. 4";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const std::int64_t width : {4096, 8192, 2048, 1024, 16384}) {
      for (const std::int64_t tokens : {1, 16, 128, 1024, 8192, 4, 64, 512, 2048, 32, 256}) {
        cases.push_back(of(tokens, width, true));
      }
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    return {of(1, 8, false), of(3, 2048, true), of(2, 2056, true), of(2, 16384, false), of(5, 1024, true)};
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    if (call.cls != &kElementwise || call.role != "norm") return {};
    return {of(static_cast<std::int64_t>(call.dims[0]), static_cast<std::int64_t>(call.dims[1]) / 8, true)};
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    const bool residual = c.option("residual", 1) != 0;
    const int width = static_cast<int>(c.call.dims[1]) / (residual ? 8 : 4);
    return std::make_unique<NormInstance>(static_cast<std::int64_t>(c.call.dims[0]), width, residual, c.seed);
  }

 private:
  /// Reads and writes stream and output, and reads the addend: 4 or 2 rows of bf16.
  static Case of(std::int64_t tokens, std::int64_t width, bool residual) {
    Case c;
    const double bytes = static_cast<double>(width) * (residual ? 8 : 4);
    c.call = make_call(kElementwise, {static_cast<double>(tokens), bytes}, DType::bf16, DType::bf16);
    c.variant = residual ? "add_rms_norm" : "rms_norm";
    c.with["residual"] = residual ? 1 : 0;
    return c;
  }
};

const Norm component;

}  // namespace

const Registration<Components> norm{"norm", "RMSNorm with the residual addition before it", &component};

}  // namespace orrery::kernels
