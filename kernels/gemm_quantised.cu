#include <cstring>
#include <random>

#include "component.hpp"
#include "device/narrow.cuh"
#include "gemm_packed.cuh"
#include "gemm_quantised.hpp"
#include "gemm_shapes.hpp"
#include "ops/kernel_classes.hpp"
#include "random.hpp"

// GEMMs that widen their weights to bf16 in registers (W4A16, W8A16), packed as gemm_packed.cuh says. With
// lane = 4g + t, a lane's element (upper, half, odd) of a step of 16 along k is row g + 8 upper, column
// 2t + 8 half + odd: two to a register, register upper + 2 half.

namespace orrery::kernels {
namespace {

constexpr std::uint32_t kOnes = 0x3f803f80U, kMinusZeros = 0x80008000U;  // pairs of bf16

template <int columns>
ORRERY_DEVICE void multiply_16(const std::uint32_t (&a)[4], const std::uint32_t (&b)[columns][4], int half,
                               float (&sums)[columns][4]) {
#pragma unroll
  for (int j = 0; j < columns; ++j) {
    const std::uint32_t pair[2] = {b[j][2 * half], b[j][2 * half + 1]};
    mma_m16n8k16<bf16>(sums[j], a, pair);
  }
}

/// Values: a word per lane and step of 16, two steps side by side, nibble (register + 4 odd). Then 16 scales
/// (fp16) and 16 zero points (4 bits, row 0 lowest), and 8 bytes of nothing.
struct Int4Weights {
  static constexpr int kScaleBytes = kPackedRows * kPackedDepth / 2, kZeroBytes = kScaleBytes + 32,
                       kBlockBytes = kZeroBytes + 16;
  struct Scales {
    std::uint32_t scale[2], zero[2];  ///< of rows g and g + 8, twice each; zero: -(128 + zero point)
  };
  ORRERY_DEVICE static Scales scales(const unsigned char* block) {
    Scales s;
    const int g = lane_id() / 4;
#pragma unroll
    for (int upper = 0; upper < 2; ++upper) {
      const float scale = to_float(reinterpret_cast<const fp16*>(block + kScaleBytes)[g + 8 * upper]);
      s.scale[upper] = pack2<bf16>(scale, scale);
      const std::uint32_t zeros = reinterpret_cast<const std::uint32_t*>(block + kZeroBytes)[upper];
      s.zero[upper] = 0xc300c300U | (zeros >> 4 * g & 0xfU) * 0x00010001U;
    }
    return s;
  }
  template <int columns>
  ORRERY_DEVICE static void multiply(const unsigned char* block, int quarter, const Scales& s,
                                     const std::uint32_t (&b)[columns][4], float (&sums)[columns][4]) {
    const auto words =
        load_pack<2>(reinterpret_cast<const std::uint32_t*>(block + quarter * 256) + lane_id() * 2);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      std::uint32_t a[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const std::uint32_t biased =
            (words.v[half] >> 4 * i & 0x000f000fU) | 0x43004300U;  // 128 + q, exactly
        a[i] = fma_bf16x2(fma_bf16x2(biased, kOnes, s.zero[i & 1]), s.scale[i & 1], kMinusZeros);
      }
      multiply_16(a, b, half, sums);
    }
  }
};

/// Values: 16 bytes per lane and step of 32; a word holds registers 2i and 2i + 1 of a step of 16, byte
/// (register % 2 + 2 odd).
struct Int8Weights {
  static constexpr int kBlockBytes = kPackedRows * kPackedDepth;
  struct Scales {};
  ORRERY_DEVICE static Scales scales(const unsigned char*) { return {}; }
  template <int columns>
  ORRERY_DEVICE static void multiply(const unsigned char* block, int quarter, const Scales&,
                                     const std::uint32_t (&b)[columns][4], float (&sums)[columns][4]) {
    const auto words =
        load_pack<4>(reinterpret_cast<const std::uint32_t*>(block + quarter * 512) + lane_id() * 4);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      std::uint32_t a[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // Two's complement: the lower seven bits, on 128, less 128 or, where the sign bit is set, 256.
        const std::uint32_t bytes = words.v[2 * half + i / 2] >> 8 * (i % 2);
        a[i] = fma_bf16x2((bytes & 0x007f007fU) | 0x43004300U, kOnes, (bytes & 0x00800080U) | 0xc300c300U);
      }
      multiply_16(a, b, half, sums);
    }
  }
};

/// Makes sane scales of the random bytes where int4 blocks hold them: infinities would run as fast, and check
/// nothing.
__global__ void int4_scales_kernel(std::uint8_t* w, std::int64_t blocks) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= blocks * kPackedRows) return;
  std::uint8_t* const at = w + i / kPackedRows * Int4Weights::kBlockBytes + Int4Weights::kScaleBytes;
  fp16* const scale = reinterpret_cast<fp16*>(at) + i % kPackedRows;
  *scale = from_float<fp16>(0.05F + 0.1F / 65536 * static_cast<float>(scale->bits));
}

std::int64_t packed_blocks(std::int64_t n, std::int64_t k) {
  return n / kPackedRows * (k / kPackedDepth);
}

}  // namespace

std::size_t packed_weight_bytes(DType format, std::int64_t n, std::int64_t k) {
  const int bytes = format == DType::int4 ? Int4Weights::kBlockBytes : Int8Weights::kBlockBytes;
  return static_cast<std::size_t>(packed_blocks(n, k) * bytes);
}

void random_packed_weights(DType format, std::uint8_t* w, std::int64_t n, std::int64_t k, std::uint64_t seed,
                           StreamRef stream) {
  fill_random_bytes(w, packed_weight_bytes(format, n, k), seed, stream);
  if (format != DType::int4) return;
  const std::int64_t blocks = packed_blocks(n, k);
  launch(
      int4_scales_kernel,
      {dim3(static_cast<unsigned>(ceil_div<std::int64_t>(blocks * kPackedRows, 256))), dim3(256), 0, stream},
      w, blocks);
}

void gemm_quantised(DType format, const QuantisedGemmArgs& args, const SplitK& memory, int sm_count,
                    StreamRef stream) {
  if (args.m == 0) return;
  PackedGemmArgs packed;
  packed.x = args.x, packed.w = args.w, packed.y = args.y;
  packed.m = args.m, packed.n = args.n, packed.k = static_cast<int>(args.k);
  if (format == DType::int4) return packed_gemm<Int4Weights>(packed, memory, sm_count, stream);
  packed.w_scale = args.w_scale;
  packed_gemm<Int8Weights>(packed, memory, sm_count, stream);
}

namespace {

/// Weight (row, column) of a matrix packed as the comments above say, without the scale per channel.
double weight(DType format, const std::vector<std::uint8_t>& w, std::int64_t depth, std::int64_t row,
              std::int64_t column) {
  const std::int64_t index = row / kPackedRows * depth + column / kPackedDepth;
  const int r = static_cast<int>(row % kPackedRows), k = static_cast<int>(column % kPackedDepth);
  const int quarter = k / 32, step = k % 32 / 16, half = k % 16 / 8, odd = k % 2;
  const int lane = r % 8 * 4 + k % 8 / 2, reg = r / 8 + 2 * half;
  if (format == DType::int8) {
    const auto block = static_cast<std::size_t>(index * Int8Weights::kBlockBytes);
    const int at = quarter * 512 + lane * 16 + step * 8 + reg / 2 * 4 + reg % 2 + 2 * odd;
    return static_cast<std::int8_t>(w[block + static_cast<std::size_t>(at)]);
  }
  const std::uint8_t* const block = w.data() + index * Int4Weights::kBlockBytes;
  const int nibble = reg + 4 * odd;
  const int q = block[quarter * 256 + lane * 8 + step * 4 + nibble / 2] >> 4 * (nibble % 2) & 0xf;
  const int zero = block[Int4Weights::kZeroBytes + r / 2] >> 4 * (r % 2) & 0xf;
  fp16 scale;
  std::memcpy(&scale, block + Int4Weights::kScaleBytes + 2 * r, sizeof scale);
  return (q - zero) * static_cast<double>(to_float(scale));
}

class QuantisedInstance final : public Instance {
 public:
  explicit QuantisedInstance(const Case& c)
      : format_(c.call.weight_dtype), sm_count_(device_info().sm_count) {
    args_.m = static_cast<std::int64_t>(c.call.dims[0]), args_.n = static_cast<std::int64_t>(c.call.dims[1]);
    args_.k = static_cast<std::int64_t>(c.call.dims[2]);
    x_ = random_array<bf16>(static_cast<std::size_t>(args_.m * args_.k), c.seed);
    w_ = DeviceArray<std::uint8_t>(packed_weight_bytes(format_, args_.n, args_.k));
    random_packed_weights(format_, w_.data(), args_.n, args_.k, c.seed + 1);
    y_ = poisoned_array<bf16>(static_cast<std::size_t>(args_.m * args_.n));
    args_.x = x_.data(), args_.w = w_.data(), args_.y = y_.data();
    if (format_ == DType::int8) {
      std::mt19937_64 random(c.seed);
      for (std::int64_t i = 0; i < args_.n; ++i) {
        scales_.push_back(std::uniform_real_distribution<float>(0.5F, 2.0F)(random));
      }
      scale_ = DeviceArray<float>(std::span<const float>(scales_));
      args_.w_scale = scale_.data();
    }
  }

  void launch(StreamRef stream) override { gemm_quantised(format_, args_, split_.ref(), sm_count_, stream); }

  Check check() override {
    const auto x = to_doubles(x_);
    const auto packed = w_.download();
    const auto at = [](std::int64_t i) { return static_cast<std::size_t>(i); };
    std::vector<double> reference(at(args_.m * args_.n));
    for (std::int64_t j = 0; j < args_.n; ++j) {
      for (std::int64_t k = 0; k < args_.k; ++k) {
        const double w = weight(format_, packed, args_.k / kPackedDepth, j, k) *
                         (scales_.empty() ? 1 : static_cast<double>(scales_[at(j)]));
        for (std::int64_t i = 0; i < args_.m; ++i)
          reference[at(i * args_.n + j)] += x[at(i * args_.k + k)] * w;
      }
    }
    return compare(to_doubles(y_), reference, 8e-3);
  }

 private:
  DType format_;
  int sm_count_;
  DeviceArray<bf16> x_, y_;
  DeviceArray<std::uint8_t> w_;
  std::vector<float> scales_;
  DeviceArray<float> scale_;
  SplitKWorkspace split_;
  QuantisedGemmArgs args_;
};

class GemmQuantised final : public Component {
 public:
  std::string_view source() const override {
    return "Frantar et al., MARLIN, 2024; formats of Lin et al., AWQ, 2024";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    const auto weights = model_weights(false);
    std::vector<Case> cases;
    for (const DType format : {DType::int4, DType::int8}) {
      const std::size_t most = format == DType::int4 ? 40 : 15;
      for (std::size_t i = 0; i < std::min(most, weights.size()); ++i) {
        for (const std::int64_t m : token_counts(i, 8192)) cases.push_back(of(m, weights[i], format));
      }
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases;
    for (const DType format : {DType::int4, DType::int8}) {
      // Every tile of m, at its edges; n within, at and beyond a tile; k split among blocks and not.
      for (const std::int64_t m : {1, 16, 17, 32}) cases.push_back(of(m, {64, 256}, format));
      cases.push_back(of(5, {80, 128}, format)), cases.push_back(of(3, {16, 1152}, format));
      cases.push_back(of(33, {144, 128}, format)), cases.push_back(of(64, {128, 256}, format));
      cases.push_back(of(65, {48, 128}, format)), cases.push_back(of(130, {144, 128}, format));
    }
    cases.push_back(of(65, {32, 1024}, DType::int4));
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    const bool ours = call.weight_dtype == DType::int4 || call.weight_dtype == DType::int8;
    if ((call.cls != &kGemm && call.cls != &kLmHead) || call.dtype != DType::bf16 || !ours) return {};
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(call.dims[i]); };
    if (dim(1) % kPackedRows != 0 || dim(2) % kPackedDepth != 0) return {};
    return {of(dim(0), {dim(1), dim(2)}, call.weight_dtype)};
  }

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (packed_shared_bytes<Int8Weights>() > device.shared_bytes_per_block) return "too little shared memory";
    const auto& d = c.call.dims;
    const double bytes = 2 * d[0] * (d[1] + d[2]) + d[1] * d[2];
    if (bytes > 0.8 * static_cast<double>(device.memory_bytes))
      return "needs more memory than the device has";
    return std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<QuantisedInstance>(c);
  }

 private:
  static Case of(std::int64_t m, WeightShape w, DType format) {
    return gemm_case(m, w, DType::bf16, format, format == DType::int4 ? "w4a16" : "w8a16");
  }
};

const GemmQuantised component;

}  // namespace

const Registration<Components> gemm_quantised_component{
    "gemm_quantised", "matrix products with 4- and 8-bit weights and 16-bit activations", &component};

}  // namespace orrery::kernels
