#include <cmath>

#include "base/error.hpp"
#include "device/warp.cuh"
#include "random.hpp"
#include "rope.hpp"
#include "row_cases.hpp"

// Rotary position embedding (Su et al., RoFormer, 2021, eq. 34; element i turns with element i + head_dim /
// 2, as Llama's weights expect) and the write of keys and values into the paged cache, in one kernel or two.
// Bound by memory.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kPer = kPerLoad<bf16>;

/// Eight values to an address of a cache row, in its format; `inverse_scale` takes them to its range.
template <class T>
ORRERY_DEVICE void store_eight(T* to, const float (&x)[kPer], float inverse_scale) {
  Pack<T, kPer> out;
#pragma unroll
  for (int j = 0; j < kPer; ++j) out.v[j] = from_float<T>(x[j] * inverse_scale);
  store_pack(to, out);
}

/// One block per token; a thread rotates eight elements of a head's first half with their partners in the
/// second, or moves eight of a value. `T` is the cache's format.
template <class T>
__global__ void __launch_bounds__(kThreads) rope_kernel(RopeArgs args, PagedKv kv) {
  const QkvRows& q = args.qkv;
  const std::size_t token = blockIdx.x;
  const int half = q.head_dim / 2, per_head = half / kPer, turned = (q.heads + q.kv_heads) * per_head;
  bf16* row = q.data + token * static_cast<std::size_t>((q.heads + 2 * q.kv_heads) * q.head_dim);
  const float* angles =
      args.angles + static_cast<std::size_t>(args.positions[token]) * static_cast<std::size_t>(q.head_dim);
  const bool writes = args.slots != nullptr;
  const std::int64_t slot = writes ? args.slots[token] : 0;
  for (int unit = static_cast<int>(threadIdx.x); unit < turned; unit += kThreads) {
    const int head = unit / per_head, at = unit % per_head * kPer;
    bf16* first = row + head * q.head_dim + at;
    auto low = load_pack<kPer>(first), high = load_pack<kPer>(first + half);
    float a[kPer], b[kPer];
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
      const float cosine = angles[2 * (at + j)], sine = angles[2 * (at + j) + 1];
      const float x = to_float(low.v[j]), y = to_float(high.v[j]);
      a[j] = x * cosine - y * sine, b[j] = y * cosine + x * sine;
      low.v[j] = from_float<bf16>(a[j]), high.v[j] = from_float<bf16>(b[j]);
    }
    store_pack(first, low), store_pack(first + half, high);
    if (writes && head >= q.heads) {
      T* to = kv_address<T>(kv, kv.k, kv_row(kv, slot, head - q.heads));
      store_eight(to + at, a, 1 / kv.k_scale), store_eight(to + at + half, b, 1 / kv.k_scale);
    }
  }
  const int moved = writes ? q.kv_heads * 2 * per_head : 0;
  for (int unit = static_cast<int>(threadIdx.x); unit < moved; unit += kThreads) {
    const int head = unit / (2 * per_head), at = unit % (2 * per_head) * kPer;
    const auto v = load_pack<kPer>(row + (q.heads + q.kv_heads + head) * q.head_dim + at);
    float x[kPer];
#pragma unroll
    for (int j = 0; j < kPer; ++j) x[j] = to_float(v.v[j]);
    store_eight(kv_address<T>(kv, kv.v, kv_row(kv, slot, head)) + at, x, 1 / kv.v_scale);
  }
}

/// One warp per (token, k or v, head), `per` = head_dim / 32 elements a lane.
template <class T, int per>
__global__ void __launch_bounds__(kThreads)
    kv_write_kernel(QkvRows qkv, PagedKv kv, const std::int64_t* slots) {
  const int heads = 2 * qkv.kv_heads;
  const std::int64_t unit =
      static_cast<std::int64_t>(blockIdx.x) * (kThreads / kWarpSize) + threadIdx.x / kWarpSize;
  if (unit >= qkv.tokens * heads) return;  // whole warps
  const std::int64_t token = unit / heads;
  const int which = static_cast<int>(unit % heads), head = which % qkv.kv_heads, at = lane_id() * per;
  const bool is_key = which < qkv.kv_heads;
  const bf16* from =
      qkv.data + token * (qkv.heads + heads) * qkv.head_dim + (qkv.heads + which) * qkv.head_dim + at;
  const auto x = load_pack<per>(from);
  const std::size_t row = kv_row(kv, slots[token], head);
  float scale = is_key ? kv.k_scale : kv.v_scale;
  if constexpr (kScaledPerToken<T>) {
    float largest = 1e-8F;
#pragma unroll
    for (int j = 0; j < per; ++j) largest = fmaxf(largest, fabsf(to_float(x.v[j])));
    scale = warp_max(largest) / kKvLargest<T>;
    if (lane_id() == 0) (is_key ? kv.k_scales : kv.v_scales)[row] = scale;
  }
  T* to = kv_address<T>(kv, is_key ? kv.k : kv.v, row) + kv_bytes<T>(at) / static_cast<int>(sizeof(T));
  if constexpr (std::is_same_v<T, int4x2>) {
    Pack<T, per / 2> out;
#pragma unroll
    for (int j = 0; j < per / 2; ++j) {
      unsigned both = 0;
      for (int i = 0; i < 2; ++i) {
        const float limited = fminf(fmaxf(rintf(to_float(x.v[2 * j + i]) / scale), -7.0F), 7.0F);
        both |= (static_cast<unsigned>(static_cast<int>(limited)) & 0xfU) << 4 * i;
      }
      out.v[j].bits = static_cast<std::uint8_t>(both);
    }
    store_pack(to, out);
  } else {
    Pack<T, per> out;
#pragma unroll
    for (int j = 0; j < per; ++j) out.v[j] = from_float<T>(to_float(x.v[j]) / scale);
    store_pack(to, out);
  }
}

template <class T>
void launch_kv_write(const QkvRows& qkv, const PagedKv& kv, const std::int64_t* slots, StreamRef stream) {
  const auto blocks = ceil_div<std::int64_t>(qkv.tokens * 2 * qkv.kv_heads, kThreads / kWarpSize);
  const LaunchShape shape{dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream};
  const auto kernel = qkv.head_dim == 64    ? kv_write_kernel<T, 2>
                      : qkv.head_dim == 128 ? kv_write_kernel<T, 4>
                                            : kv_write_kernel<T, 8>;
  launch(kernel, shape, qkv, kv, slots);
}

void check_head_dim(int head_dim) {
  ORRERY_CHECK(head_dim == 64 || head_dim == 128 || head_dim == 256, "heads are of 64, 128 or 256 elements");
}

}  // namespace

void rope(const RopeArgs& args, StreamRef stream) {
  check_head_dim(args.qkv.head_dim);
  if (args.qkv.tokens == 0) return;
  RopeArgs device = args;
  PagedKv kv;
  if (args.kv != nullptr) kv = *args.kv;
  device.kv = nullptr;
  if (args.kv == nullptr) device.slots = nullptr;
  ORRERY_CHECK(kv.format == DType::bf16 || kv.format == DType::fp8,
               "rope writes bf16 and fp8 caches; kv_write the others");
  const LaunchShape shape{dim3(static_cast<unsigned>(args.qkv.tokens)), dim3(kThreads), 0, stream};
  launch(kv.format == DType::fp8 ? rope_kernel<fp8> : rope_kernel<bf16>, shape, device, kv);
}

void kv_write(const QkvRows& qkv, const PagedKv& kv, const std::int64_t* slots, StreamRef stream) {
  check_head_dim(qkv.head_dim);
  if (qkv.tokens == 0) return;
  const bool known =
      with_kv_type(kv.format, [&](auto type) { launch_kv_write<decltype(type)>(qkv, kv, slots, stream); });
  ORRERY_CHECK(known, "K and V in a format no cache has");
}

std::vector<float> rope_angles(std::int64_t positions, int head_dim, double base) {
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(positions) * static_cast<std::size_t>(head_dim));
  std::vector<double> frequencies;
  for (int i = 0; i < head_dim / 2; ++i) frequencies.push_back(std::pow(base, -2.0 * i / head_dim));
  for (std::int64_t p = 0; p < positions; ++p) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(p) * frequency;
      out.push_back(static_cast<float>(std::cos(angle)));
      out.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return out;
}

namespace {

struct RopeShape {
  std::int64_t tokens = 1;
  int heads = 32, kv_heads = 8, head_dim = 128;
  bool rotate = true, write = true;
  DType format = DType::bf16;
};

/// Rotates and writes tokens scattered over a cache of block size 16.
class RopeInstance final : public Instance {
 public:
  RopeInstance(const RopeShape& shape, std::uint64_t seed) : shape_(shape), seed_(seed) {
    qkv_.tokens = shape.tokens, qkv_.heads = shape.heads, qkv_.kv_heads = shape.kv_heads,
    qkv_.head_dim = shape.head_dim;
    rows_ = random_array<bf16>(static_cast<std::size_t>(shape.tokens * qkv_.row()), seed);
    qkv_.data = rows_.data();
    const std::int64_t blocks = ceil_div<std::int64_t>(shape.tokens, kBlock) + 1;
    const auto cache_rows = static_cast<std::size_t>(blocks * kBlock * shape.kv_heads);
    const std::size_t row_bytes = static_cast<std::size_t>(shape.head_dim) *
                                  static_cast<std::size_t>(2 * bytes_per_element(shape.format)) / 2;
    for (auto* cache : {&k_, &v_}) *cache = poisoned_array<std::uint8_t>(cache_rows * row_bytes);
    for (auto* scales : {&k_scales_, &v_scales_}) *scales = poisoned_array<float>(cache_rows);
    kv_.k = k_.data(), kv_.v = v_.data(), kv_.k_scales = k_scales_.data(), kv_.v_scales = v_scales_.data();
    kv_.block_size = kBlock, kv_.kv_heads = shape.kv_heads, kv_.head_dim = shape.head_dim,
    kv_.format = shape.format;
    if (shape.format == DType::fp8) kv_.k_scale = 0.01F, kv_.v_scale = 0.02F;
    for (std::int64_t t = 0; t < shape.tokens; ++t) {
      slots_.push_back((t * kScatter + 3) % (blocks * kBlock));
      positions_.push_back(static_cast<std::int32_t>(t * 37 % kPositions));
    }
    slots_on_device_ = DeviceArray<std::int64_t>(slots_),
    positions_on_device_ = DeviceArray<std::int32_t>(positions_);
    angles_ = DeviceArray<float>(rope_angles(kPositions, shape.head_dim, 10000));
  }

  void launch(StreamRef stream) override {
    if (!shape_.rotate) {
      kv_write(qkv_, kv_, slots_on_device_.data(), stream);
      return;
    }
    rope({qkv_, positions_on_device_.data(), angles_.data(), shape_.write ? &kv_ : nullptr,
          slots_on_device_.data()},
         stream);
  }

  Check check() override {
    fill_random(rows_.data(), rows_.size(), seed_, 1.0F);  // launches before this one have turned them
    const auto expected = reference(to_doubles(rows_));
    launch(nullptr);
    auto out = to_doubles(rows_), wanted = expected;
    if (shape_.write) append_cache(expected, out, wanted);
    const double tolerance = shape_.format == DType::bf16 ? 4e-3 : shape_.format == DType::int4 ? 0.15 : 4e-2;
    return compare(out, wanted, tolerance);
  }

 private:
  static constexpr int kBlock = 16;
  static constexpr std::int64_t kPositions = 4096;
  static constexpr std::int64_t kScatter = 7919;  ///< a prime, so that tokens do not share slots

  /// `rows`, as they were before the launch, after it.
  std::vector<double> reference(std::vector<double> rows) const {
    if (!shape_.rotate) return rows;
    const int half = shape_.head_dim / 2;
    for (std::int64_t t = 0; t < shape_.tokens; ++t) {
      for (int head = 0; head < shape_.heads + shape_.kv_heads; ++head) {
        double* x = rows.data() + t * qkv_.row() + head * shape_.head_dim;
        for (int i = 0; i < half; ++i) {
          const double angle =
              positions_[static_cast<std::size_t>(t)] * std::pow(10000.0, -2.0 * i / shape_.head_dim);
          const double a = x[i], b = x[i + half];
          x[i] = a * std::cos(angle) - b * std::sin(angle),
          x[i + half] = b * std::cos(angle) + a * std::sin(angle);
        }
      }
    }
    return rows;
  }

  /// Adds what the cache holds at each token's slot to `out`, and what it should to `wanted`.
  void append_cache(const std::vector<double>& rows, std::vector<double>& out,
                    std::vector<double>& wanted) const {
    const auto k = k_.download(), v = v_.download();
    const auto k_scales = k_scales_.download(), v_scales = v_scales_.download();
    for (std::int64_t t = 0; t < shape_.tokens; ++t) {
      for (int which = 0; which < 2 * shape_.kv_heads; ++which) {
        const bool is_key = which < shape_.kv_heads;
        const std::size_t row = kv_row(kv_, slots_[static_cast<std::size_t>(t)], which % shape_.kv_heads);
        const double* from = rows.data() + t * qkv_.row() + (shape_.heads + which) * shape_.head_dim;
        for (int i = 0; i < shape_.head_dim; ++i) {
          wanted.push_back(from[i]);
          out.push_back(cached(is_key ? k : v, is_key ? k_scales : v_scales,
                               is_key ? kv_.k_scale : kv_.v_scale, row, i));
        }
      }
    }
  }
  double cached(const std::vector<std::uint8_t>& bytes, const std::vector<float>& scales, float tensor_scale,
                std::size_t row, int i) const {
    const auto n = static_cast<std::size_t>(shape_.head_dim);
    double value = 0;
    with_kv_type(shape_.format, [&](auto type) {
      using T = decltype(type);
      const T* data = reinterpret_cast<const T*>(bytes.data());
      if constexpr (std::is_same_v<T, int4x2>) {
        value = static_cast<double>(to_float(data[(row * n + static_cast<std::size_t>(i)) / 2], i % 2));
      } else {
        value = static_cast<double>(to_float(data[row * n + static_cast<std::size_t>(i)]));
      }
      value *= static_cast<double>(kScaledPerToken<T> ? scales[row] : tensor_scale);
    });
    return value;
  }

  RopeShape shape_;
  QkvRows qkv_;
  PagedKv kv_;
  DeviceArray<bf16> rows_;
  std::uint64_t seed_;
  DeviceArray<std::uint8_t> k_, v_;
  DeviceArray<float> k_scales_, v_scales_, angles_;
  std::vector<std::int64_t> slots_;
  std::vector<std::int32_t> positions_;
  DeviceArray<std::int64_t> slots_on_device_;
  DeviceArray<std::int32_t> positions_on_device_;
};

class Rope final : public Component {
 public:
  std::string_view source() const override {
    return "Su et al., RoFormer, 2021, eq. 34; Kwon et al., vLLM, 2023, section 4";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const auto& [heads, kv_heads, dim] :
         {std::array{32, 8, 128}, {64, 8, 128}, {8, 1, 128}, {16, 8, 128}, {32, 8, 64}}) {
      for (const auto tokens : row_token_counts())
        cases.push_back(of({tokens, heads, kv_heads, dim, true, true, DType::bf16}));
    }
    for (const auto tokens : row_token_counts()) {
      cases.push_back(of({tokens, 32, 8, 128, true, false, DType::bf16}));
      for (const DType format : {DType::bf16, DType::fp8, DType::int8, DType::int4}) {
        cases.push_back(of({tokens, 32, 8, 128, false, true, format}));
      }
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases{
        of({3, 4, 2, 64, true, true, DType::bf16}), of({17, 2, 1, 128, true, true, DType::fp8}),
        of({1, 3, 3, 256, true, true, DType::bf16}), of({2, 4, 2, 128, true, false, DType::bf16})};
    for (const DType format : {DType::bf16, DType::fp8, DType::int8, DType::int4}) {
      for (const int dim : {64, 128, 256}) cases.push_back(of({5, 2, 3, dim, false, true, format}));
    }
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    std::vector<Case> cases;
    for (const auto& c : sweep({})) {
      Case same = of(shape_of(c, static_cast<std::int64_t>(call.dims[0])));
      const bool is_new = cases.empty() || same.variant != cases.back().variant;
      if (same.call.cls == call.cls && same.call.dims[1] == call.dims[1] && is_new) cases.push_back(same);
    }
    return cases;
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<RopeInstance>(shape_of(c, tokens_of(c)), c.seed);
  }

 private:
  /// Bytes as sim/ops counts them: q and k read and written, v read, the cache written, the row of angles
  /// read.
  static Case of(const RopeShape& s) {
    const double element = bytes_per_element(DType::bf16),
                 cached = 2.0 * s.kv_heads * s.head_dim * bytes_per_element(s.format);
    const double q = s.heads * s.head_dim, k = s.kv_heads * s.head_dim;
    const double table = s.head_dim * element;
    double bytes = 2 * k * element + cached;
    if (s.rotate)
      bytes = s.write ? (2 * q + 2 * k) * element + table + cached : 2 * (q + k) * element + table;
    const char* variant = !s.rotate ? "kv_write" : s.write ? "rope_kv_write" : "rope";
    Case c = row_case(s.rotate ? kRope : kKvWrite, variant, s.tokens, s.head_dim,
                      static_cast<std::int64_t>(bytes));
    c.call.weight_dtype = s.format;
    c.with["heads"] = s.heads, c.with["kv_heads"] = s.kv_heads;
    return c;
  }
  static RopeShape shape_of(const Case& c, std::int64_t tokens) {
    return {tokens,
            static_cast<int>(c.option("heads", 32)),
            static_cast<int>(c.option("kv_heads", 8)),
            width_of(c),
            c.variant != "kv_write",
            c.variant != "rope",
            c.call.weight_dtype};
  }
};

const Rope component;

}  // namespace

const Registration<Components> rope_component{"rope", "rotary embedding, and K and V into the paged cache",
                                              &component};

}  // namespace orrery::kernels
