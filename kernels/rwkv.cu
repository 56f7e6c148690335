#include <cmath>

#include "device/warp.cuh"
#include "linear_problem.hpp"
#include "ops/recurrent.hpp"
#include "random.hpp"
#include "rwkv.hpp"

// The state recurrences of RWKV-6 and RWKV-7, as their authors' kernels run them: a block per head and
// sequence, a thread per value channel with its column of the state in registers, token after token, the
// vectors all threads need staged in shared memory eight tokens at a time. Prompts are bound by latency (64
// multiply-adds per thread and token, twice for RWKV-7, whatever the length of the batch below 16 blocks per
// SM); single tokens by the state's traffic, with the aim of 85% of copy bandwidth from 64 sequences of 32
// heads on.

namespace orrery::kernels {
namespace {

constexpr int kTokens = 8;
enum Stream : int { kR, kW, kK, kV, kA, kB };

template <bool seventh>
struct Wkv {
  static constexpr int kStreams = seventh ? 6 : 4;
  using Stage = float[kStreams][kTokens][kWkvDim];

  const WkvArgs& args;
  int head;
  bf16 fetched[kStreams][kTokens];
  float s[kWkvDim];  ///< column threadIdx.x of the state

  ORRERY_DEVICE std::int64_t at(std::int64_t token) const {
    return (token * args.heads + head) * kWkvDim + threadIdx.x;
  }
  ORRERY_DEVICE void fetch(std::int64_t token, std::int64_t end) {
    const bf16* const streams[6] = {args.r, args.w, args.k, args.v, args.a, args.b};
#pragma unroll
    for (int i = 0; i < kStreams; ++i) {
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        fetched[i][t] = token + t < end ? streams[i][at(token + t)] : bf16{0};
      }
    }
  }
  ORRERY_DEVICE void stash(Stage& stage) const {
#pragma unroll
    for (int i = 0; i < kStreams; ++i) {
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        const float x = to_float(fetched[i][t]);
        stage[i][t][threadIdx.x] = i == kW ? fast_exp(-fast_exp(x)) : x;
      }
    }
  }

  /// sum of four partial sums, which shorten the chain of dependent additions.
  ORRERY_DEVICE static float total(const float (&x)[4]) {
    return (x[0] + x[1]) + (x[2] + x[3]);
  }

  ORRERY_DEVICE float sixth_step(const Stage& stage, int t, const float* u) {
    float y[4] = {};
    const float v = stage[kV][t][threadIdx.x];
#pragma unroll
    for (int i = 0; i < kWkvDim; i += 4) {
      const auto r = load_pack<4>(stage[kR][t] + i), k = load_pack<4>(stage[kK][t] + i),
                 w = load_pack<4>(stage[kW][t] + i), bonus = load_pack<4>(u + i);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float added = k.v[j] * v;
        y[j] += r.v[j] * (s[i + j] + bonus.v[j] * added);
        s[i + j] = s[i + j] * w.v[j] + added;
      }
    }
    return total(y);
  }
  ORRERY_DEVICE float seventh_step(const Stage& stage, int t) {
    float removed[4] = {}, y[4] = {};
    const float v = stage[kV][t][threadIdx.x];
#pragma unroll
    for (int i = 0; i < kWkvDim; i += 4) {
      const auto a = load_pack<4>(stage[kA][t] + i);
#pragma unroll
      for (int j = 0; j < 4; ++j) removed[j] += a.v[j] * s[i + j];
    }
    const float sum = total(removed);
#pragma unroll
    for (int i = 0; i < kWkvDim; i += 4) {
      const auto r = load_pack<4>(stage[kR][t] + i), k = load_pack<4>(stage[kK][t] + i),
                 w = load_pack<4>(stage[kW][t] + i), b = load_pack<4>(stage[kB][t] + i);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[i + j] = s[i + j] * w.v[j] + sum * b.v[j] + k.v[j] * v;
        y[j] += r.v[j] * s[i + j];
      }
    }
    return total(y);
  }
};

template <bool seventh>
__global__ void __launch_bounds__(kWkvDim) wkv_kernel(WkvArgs args) {
  using Recurrence = Wkv<seventh>;
  __align__(16) __shared__ typename Recurrence::Stage stages[2];
  __align__(16) __shared__ float u[kWkvDim];
  const int thread = static_cast<int>(threadIdx.x), head = static_cast<int>(blockIdx.x);
  const std::int64_t seq = blockIdx.y;
  Recurrence recurrence{args, head, {}, {}};
  float* const state = args.state + (seq * args.heads + head) * kWkvDim * kWkvDim + thread;
#pragma unroll
  for (int i = 0; i < kWkvDim; ++i) recurrence.s[i] = state[i * kWkvDim];
  if (!seventh) u[thread] = args.u[head * kWkvDim + thread];
  const std::int64_t begin = args.starts == nullptr ? seq : args.starts[seq],
                     end = args.starts == nullptr ? seq + 1 : args.starts[seq + 1];
  recurrence.fetch(begin, end);
  recurrence.stash(stages[0]);
  int stage = 0;
  for (std::int64_t token = begin; token < end; token += kTokens, stage ^= 1) {
    const bool more = token + kTokens < end;
    if (more) recurrence.fetch(token + kTokens, end);
    __syncthreads();  // this stage is written, the other one has been read
    for (int t = 0; t < kTokens && token + t < end; ++t) {
      float y;
      if constexpr (seventh) {
        y = recurrence.seventh_step(stages[stage], t);
      } else {
        y = recurrence.sixth_step(stages[stage], t, u);
      }
      args.y[recurrence.at(token + t)] = from_float<bf16>(y);
    }
    if (more) recurrence.stash(stages[stage ^ 1]);
  }
#pragma unroll
  for (int i = 0; i < kWkvDim; ++i) state[i * kWkvDim] = recurrence.s[i];
}

}  // namespace

void wkv(const WkvArgs& args, StreamRef stream) {
  if (args.seqs == 0) return;
  const LaunchShape shape{dim3(static_cast<unsigned>(args.heads), static_cast<unsigned>(args.seqs)),
                          dim3(kWkvDim), 0, stream};
  launch(args.a != nullptr ? wkv_kernel<true> : wkv_kernel<false>, shape, args);
}

namespace {

class WkvInstance final : public Instance {
 public:
  WkvInstance(const std::vector<std::int64_t>& lengths, bool decode, bool seventh, int heads,
              std::uint64_t seed)
      : lengths_(lengths), seed_(seed) {
    std::vector<std::int32_t> starts{0};
    for (const auto length : lengths) starts.push_back(starts.back() + static_cast<std::int32_t>(length));
    const auto width = static_cast<std::size_t>(heads) * kWkvDim,
               n = static_cast<std::size_t>(starts.back()) * width;
    // a and b as RWKV-7 makes them, the negative of a normalised key and the key times a learning rate: here
    // both of norm below one.
    const float scales[6] = {1, 2, 1, 1, 0.2F, 0.2F};
    for (std::size_t i = 0; i < (seventh ? 6U : 4U); ++i)
      streams_[i] = random_array<bf16>(n, seed + i, scales[i]);
    u_ = random_array<float>(width, seed + 7), y_ = poisoned_array<bf16>(n);
    state_ = random_array<float>(lengths.size() * width * kWkvDim, seed + 8);
    starts_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(starts));
    args_ = {streams_[kR].data(),
             streams_[kW].data(),
             streams_[kK].data(),
             streams_[kV].data(),
             streams_[kA].data(),
             streams_[kB].data(),
             u_.data(),
             y_.data(),
             state_.data(),
             decode ? nullptr : starts_.data(),
             static_cast<int>(lengths.size()),
             heads};
  }
  void launch(StreamRef stream) override { wkv(args_, stream); }

  Check check() override {
    fill_random(state_.data(), state_.size(), seed_ + 8, 1.0F);  // earlier launches have moved it
    auto state = to_doubles(state_);
    wkv(args_, nullptr);
    std::vector<double> y(y_.size());
    reference(y, state);
    const Check out = compare(to_doubles(y_), y, 6e-3), kept = compare(to_doubles(state_), state, 6e-3);
    return out.error > kept.error ? out : kept;
  }

 private:
  void reference(std::vector<double>& y, std::vector<double>& state) const {
    std::vector<double> x[6];
    for (std::size_t i = 0; i < 6; ++i) x[i] = to_doubles(streams_[i]);
    const auto u = to_doubles(u_);
    const auto heads = static_cast<std::size_t>(args_.heads);
    constexpr std::size_t dim = kWkvDim;
    std::size_t token = 0;
    for (std::size_t seq = 0; seq < lengths_.size(); ++seq) {
      for (std::int64_t i = 0; i < lengths_[seq]; ++i, ++token) {
        for (std::size_t head = 0; head < heads; ++head) {
          const std::size_t at = (token * heads + head) * dim;
          for (std::size_t j = 0; j < dim; ++j) {
            double* const s = state.data() + (seq * heads + head) * dim * dim + j;
            double removed = 0;
            for (std::size_t d = 0; d < dim && args_.a != nullptr; ++d) removed += x[kA][at + d] * s[d * dim];
            for (std::size_t d = 0; d < dim; ++d) {
              const double added = x[kK][at + d] * x[kV][at + j], decay = std::exp(-std::exp(x[kW][at + d]));
              if (args_.a == nullptr) y[at + j] += x[kR][at + d] * (s[d * dim] + u[head * dim + d] * added);
              s[d * dim] = s[d * dim] * decay + added;
              if (args_.a == nullptr) continue;
              s[d * dim] += removed * x[kB][at + d];
              y[at + j] += x[kR][at + d] * s[d * dim];
            }
          }
        }
      }
    }
  }

  std::vector<std::int64_t> lengths_;
  std::uint64_t seed_;
  DeviceArray<bf16> streams_[6], y_;
  DeviceArray<float> u_, state_;
  DeviceArray<std::int32_t> starts_;
  WkvArgs args_;
};

Case case_of(const KernelClass& cls, const std::vector<std::int64_t>& dims, bool ragged = false) {
  KernelClass::Dims d{};
  for (std::size_t i = 0; i < dims.size(); ++i) d[i] = static_cast<double>(dims[i]);
  Case c;
  c.call = make_call(cls, d, DType::bf16, DType::fp32);
  c.variant = "thread_per_column";
  if (ragged) c.with["ragged"] = 1;
  return c;
}

class Rwkv final : public Component {
 public:
  std::string_view source() const override {
    return "Peng et al., Eagle and Finch (RWKV-6), 2024; RWKV-7 Goose, 2025: time mixing";
  }
  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const std::int64_t heads : {64, 32, 40, 8, 16, 12}) {  // 7B, 1.6B, 3B and shards
      for (const auto& [cls, one] : {std::pair(&kWkv7, &kWkv7Decode), std::pair(&kWkv6, &kWkv6Decode)}) {
        for (const std::int64_t n : {64, 1, 256, 16, 128, 4, 512, 32})
          cases.push_back(case_of(*one, {n, heads, 64}));
        for (const std::int64_t n : {2048, 512, 8192, 128, 4096, 1024})
          cases.push_back(case_of(*cls, {n, 1, heads, 64}));
        cases.push_back(case_of(*cls, {8192, 8, heads, 64}));
        cases.push_back(case_of(*cls, {4096, 4, heads, 64}, true));
      }
    }
    return cases;
  }
  std::vector<Case> checks() const override {
    return {case_of(kWkv6, {1, 1, 1, 64}),        case_of(kWkv6, {8, 1, 2, 64}),
            case_of(kWkv6, {26, 3, 2, 64}, true), case_of(kWkv7, {9, 1, 2, 64}),
            case_of(kWkv7, {40, 2, 1, 64}, true), case_of(kWkv6Decode, {3, 2, 64}),
            case_of(kWkv7Decode, {2, 3, 64})};
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(call.dims[i]); };
    if ((call.cls == &kWkv6 || call.cls == &kWkv7) && dim(3) == kWkvDim)
      return {case_of(*call.cls, {dim(0), dim(1), dim(2), dim(3)})};
    if ((call.cls == &kWkv6Decode || call.cls == &kWkv7Decode) && dim(2) == kWkvDim)
      return {case_of(*call.cls, {dim(0), dim(1), dim(2)})};
    return {};
  }
  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (c.call.work.hbm_bytes() > 0.85 * static_cast<double>(device.memory_bytes))
      return "states and tokens larger than the device's memory";
    return std::nullopt;
  }
  std::unique_ptr<Instance> make(const Case& c) const override {
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(c.call.dims[i]); };
    const bool decode = c.call.cls == &kWkv6Decode || c.call.cls == &kWkv7Decode;
    const bool seventh = c.call.cls == &kWkv7 || c.call.cls == &kWkv7Decode;
    const std::size_t heads = decode ? 1 : 2;
    return std::make_unique<WkvInstance>(prompt_lengths(dim(0), dim(heads - 1), c.option("ragged", 0) != 0),
                                         decode, seventh, static_cast<int>(dim(heads)), c.seed);
  }
};

const Rwkv component;

}  // namespace

const Registration<Components> rwkv_component{"rwkv", "the state recurrences of RWKV-6 and RWKV-7",
                                              &component};

}  // namespace orrery::kernels
