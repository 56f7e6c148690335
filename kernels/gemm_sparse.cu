#include <cstring>

#include "component.hpp"
#include "device/mma_sparse.cuh"
#include "gemm_packed.cuh"
#include "gemm_shapes.hpp"
#include "ops/linear_compressed.hpp"
#include "random.hpp"

// GEMM with 2:4 sparse bf16 weights on the sparse tensor cores (Mishra et al., Accelerating Sparse Deep
// Neural Networks, 2021), packed as gemm_packed.cuh says. Few rows are bound by reading 0.5625 of the dense
// bytes, many by mma.sp at up to twice the dense rate.

namespace orrery::kernels {
namespace {

/// Values: 16 bytes per lane and step of 32 along k, the fragments of 16 stored columns. Then a word of
/// metadata per lane and two steps: lanes 4g and 4g + 1 have the first's, 4g + 2 and 4g + 3 the second's.
struct Sparse24Weights {
  static constexpr int kMetadataBytes = kPackedRows * kPackedDepth, kBlockBytes = kMetadataBytes + 256;
  struct Scales {};
  ORRERY_DEVICE static Scales scales(const unsigned char*) { return {}; }
  template <int columns>
  ORRERY_DEVICE static void multiply(const unsigned char* block, int quarter, const Scales&,
                                     const std::uint32_t (&b)[columns][4], float (&sums)[columns][4]) {
    const auto words =
        load_pack<4>(reinterpret_cast<const std::uint32_t*>(block + quarter * 512) + lane_id() * 4);
    const std::uint32_t metadata =
        reinterpret_cast<const std::uint32_t*>(block + kMetadataBytes + quarter / 2 * 128)[lane_id()];
#pragma unroll
    for (int j = 0; j < columns; ++j) {
      if (quarter % 2 == 0) {
        mma_sparse_m16n8k32<0>(sums[j], words.v, b[j], metadata);
      } else {
        mma_sparse_m16n8k32<1>(sums[j], words.v, b[j], metadata);
      }
    }
  }
};

/// Makes blocks of random bytes valid: values in [-1, 1), indices of two different places in order.
__global__ void sparse_blocks_kernel(std::uint8_t* w, std::int64_t blocks) {
  constexpr int words = Sparse24Weights::kBlockBytes / 4, values = Sparse24Weights::kMetadataBytes / 4;
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= blocks * words) return;
  std::uint32_t& word = reinterpret_cast<std::uint32_t*>(w)[i];
  if (i % words < values) {
    const auto unit = [&](std::uint32_t bits) {
      return static_cast<float>(bits & 0xffffU) / 32768.0F - 1.0F;
    };
    word = pack2<bf16>(unit(word), unit(word >> 16));
    return;
  }
  constexpr std::uint32_t pairs =
      0xed9c84U;  // (0,1) (0,2) (0,3) (1,2) (1,3) (2,3), the first in the lower bits
  std::uint32_t metadata = 0;
  for (int group = 0; group < 8; ++group) {
    const std::uint32_t choice = (word >> 4 * group & 0xfU) % 6;
    metadata |= (pairs >> 4 * choice & 0xfU) << 4 * group;
  }
  word = metadata;
}

/// The dense row-major [n,k] matrix of packed blocks.
std::vector<double> unpack(const std::vector<std::uint8_t>& packed, std::int64_t n, std::int64_t k) {
  std::vector<double> dense(static_cast<std::size_t>(n * k));
  const auto value = [&](std::int64_t at, auto sample) {
    std::memcpy(&sample, packed.data() + at, sizeof sample);
    return sample;
  };
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t stored = 0; stored < k / 2; ++stored) {
      const std::int64_t depth = stored / (kPackedDepth / 2);
      const std::int64_t block =
          (row / kPackedRows * (k / kPackedDepth) + depth) * Sparse24Weights::kBlockBytes;
      const int r = static_cast<int>(row % kPackedRows), s = static_cast<int>(stored % (kPackedDepth / 2));
      const int quarter = s / 16, upper = s % 16 / 8, lane = r % 8 * 4 + s % 8 / 2;
      const auto weight =
          value(block + quarter * 512 + lane * 16 + (r / 8 + 2 * upper) * 4 + s % 2 * 2, bf16{});
      const int holder = r % 8 * 4 + quarter % 2 * 2 + upper;
      const auto indices =
          value(block + Sparse24Weights::kMetadataBytes + quarter / 2 * 128 + holder * 4, std::uint32_t{});
      const std::int64_t place = indices >> (16 * (r / 8) + s % 8 * 2) & 3U;
      dense[static_cast<std::size_t>(row * k + stored / 2 * 4 + place)] =
          static_cast<double>(to_float(weight));
    }
  }
  return dense;
}

class SparseInstance final : public Instance {
 public:
  explicit SparseInstance(const Case& c) : sm_count_(device_info().sm_count) {
    args_.m = static_cast<std::int64_t>(c.call.dims[0]), args_.n = static_cast<std::int64_t>(c.call.dims[1]);
    args_.k = static_cast<int>(c.call.dims[2]);
    const std::int64_t blocks = args_.n / kPackedRows * (args_.k / kPackedDepth);
    x_ = random_array<bf16>(static_cast<std::size_t>(args_.m * args_.k), c.seed);
    w_ = DeviceArray<std::uint8_t>(static_cast<std::size_t>(blocks * Sparse24Weights::kBlockBytes));
    y_ = poisoned_array<bf16>(static_cast<std::size_t>(args_.m * args_.n));
    fill_random_bytes(w_.data(), w_.size(), c.seed + 1);
    const std::int64_t words = blocks * (Sparse24Weights::kBlockBytes / 4);
    orrery::kernels::launch(
        sparse_blocks_kernel,
        {dim3(static_cast<unsigned>(ceil_div<std::int64_t>(words, 256))), dim3(256), 0, nullptr}, w_.data(),
        blocks);
    args_.x = x_.data(), args_.w = w_.data(), args_.y = y_.data();
  }

  void launch(StreamRef stream) override {
    packed_gemm<Sparse24Weights>(args_, split_.ref(), sm_count_, stream);
  }

  Check check() override {
    const auto x = to_doubles(x_), w = unpack(w_.download(), args_.n, args_.k);
    const auto at = [](std::int64_t i) { return static_cast<std::size_t>(i); };
    std::vector<double> reference;
    for (std::int64_t i = 0; i < args_.m; ++i) {
      for (std::int64_t j = 0; j < args_.n; ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < args_.k; ++k) sum += x[at(i * args_.k + k)] * w[at(j * args_.k + k)];
        reference.push_back(sum);
      }
    }
    return compare(to_doubles(y_), reference, 8e-3);
  }

 private:
  int sm_count_;
  DeviceArray<bf16> x_, y_;
  DeviceArray<std::uint8_t> w_;
  SplitKWorkspace split_;
  PackedGemmArgs args_;
};

class GemmSparse final : public Component {
 public:
  std::string_view source() const override {
    return "Mishra et al., Accelerating Sparse Deep Neural Networks, 2021";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    const auto weights = model_weights(false);
    std::vector<Case> cases;
    for (std::size_t i = 0; i < std::min<std::size_t>(30, weights.size()); ++i) {
      for (const std::int64_t m : token_counts(i, 8192)) cases.push_back(of(m, weights[i]));
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases;
    for (const std::int64_t m : {1, 16, 17, 32}) cases.push_back(of(m, {64, 256}));
    cases.push_back(of(5, {80, 128})), cases.push_back(of(3, {16, 1152}));
    cases.push_back(of(33, {144, 128})), cases.push_back(of(64, {128, 256}));
    cases.push_back(of(65, {48, 128})), cases.push_back(of(130, {144, 128}));
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    const bool ours =
        call.cls == &kGemmSparse24 && call.dtype == DType::bf16 && call.weight_dtype == DType::bf16;
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(call.dims[i]); };
    if (!ours || dim(1) % kPackedRows != 0 || dim(2) % kPackedDepth != 0) return {};
    return {of(dim(0), {dim(1), dim(2)})};
  }

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (packed_shared_bytes<Sparse24Weights>() > device.shared_bytes_per_block)
      return "too little shared memory";
    const Work& work = c.call.work;
    if (work.hbm_bytes() > 0.8 * static_cast<double>(device.memory_bytes)) {
      return "needs more memory than the device has";
    }
    return std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override { return std::make_unique<SparseInstance>(c); }

 private:
  static Case of(std::int64_t m, WeightShape w) {
    Case c;
    c.call =
        make_call(kGemmSparse24, {static_cast<double>(m), static_cast<double>(w.n), static_cast<double>(w.k)},
                  DType::bf16, DType::bf16);
    c.variant = "mma_sp";
    return c;
  }
};

const GemmSparse component;

}  // namespace

const Registration<Components> gemm_sparse_component{
    "gemm_sparse", "matrix products with 2:4 structured sparse weights", &component};

}  // namespace orrery::kernels
