#include <algorithm>
#include <cmath>

#include "device/async_copy.cuh"
#include "device/warp.cuh"
#include "ops/recurrent.hpp"
#include "selective_scan.hpp"
#include "selective_scan_instance.hpp"

// Mamba's selective scan and the short convolution before it (Gu and Dao, 2023). The scan goes through time
// in one thread per channel and quarter of its states, 32 channels to a block, with inputs of 16 tokens at a
// time staged in shared memory two ahead. Prompts are bound by the exponentials (one per token, channel and
// state: 16 per clock and SM), few channels by latency; aim: half of that rate at 8192 channels. One token
// per sequence is bound by the state's traffic, the convolution by its rows; aim: 85% of copy bandwidth.

namespace orrery::kernels {
namespace {

constexpr int kChannels = 32, kLanes = 4, kThreads = kChannels * kLanes, kTokens = 16;

template <int states>
struct ScanStage {
  bf16 x[kTokens * kChannels], delta[kTokens * kChannels], z[kTokens * kChannels];
  bf16 b[kTokens * states], c[kTokens * states];
};
template <int states>
struct ScanShared {
  ScanStage<states> stage[2];
  bf16 y[kTokens * kChannels];
};

ORRERY_DEVICE float softplus(float x) {
  return x > 20.0F ? x : log1pf(fast_exp(x));
}

template <int states>
struct Scan {
  static constexpr int kOwn = states / kLanes;
  const SelectiveScanArgs& args;
  ScanShared<states>& shared;
  int first_channel;
  float h[kOwn], a[kOwn], d, bias;

  /// Rows of `width` elements into a stage, 16 bytes per copy.
  ORRERY_DEVICE void copy_rows(bf16* to, const bf16* from, std::int64_t pitch, int width, int tokens) const {
    const int pieces = width / 8;
    for (int at = static_cast<int>(threadIdx.x); at < tokens * pieces; at += kThreads) {
      const int row = at / pieces, piece = at % pieces * 8;
      async_copy16(to + row * width + piece, from + row * pitch + piece);
    }
  }
  ORRERY_DEVICE void load(int s, std::int64_t token, int tokens) {
    ScanStage<states>& stage = shared.stage[s];
    const std::int64_t at = token * args.channels + first_channel;
    copy_rows(stage.x, args.x + at, args.channels, kChannels, tokens);
    copy_rows(stage.delta, args.delta + at, args.channels, kChannels, tokens);
    copy_rows(stage.z, args.z + at, args.channels, kChannels, tokens);
    copy_rows(stage.b, args.b + token * states, states, states, tokens);
    copy_rows(stage.c, args.c + token * states, states, states, tokens);
    async_commit();
  }

  /// One token: the sum over the states is complete in the first of a channel's lanes.
  ORRERY_DEVICE void step(const ScanStage<states>& stage, int t) {
    const int channel = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
    const int at = t * kChannels + channel, own = t * states + lane * kOwn;
    const float x = to_float(stage.x[at]), delta = softplus(to_float(stage.delta[at]) + bias);
    float y = 0;
#pragma unroll
    for (int n = 0; n < kOwn; ++n) {
      h[n] = fast_exp(delta * a[n]) * h[n] + delta * x * to_float(stage.b[own + n]);
      y += h[n] * to_float(stage.c[own + n]);
    }
    y += shfl_xor(y, 1);
    y += shfl_xor(y, 2);
    if (lane == 0) shared.y[at] = from_float<bf16>((y + d * x) * silu(to_float(stage.z[at])));
  }

  ORRERY_DEVICE void store(std::int64_t token, int tokens) const {
    constexpr int pieces = kChannels / 8;
    for (int at = static_cast<int>(threadIdx.x); at < tokens * pieces; at += kThreads) {
      const int row = at / pieces, piece = at % pieces * 8;
      store_pack(args.y + (token + row) * args.channels + first_channel + piece,
                 load_pack<8>(shared.y + row * kChannels + piece));
    }
  }

  ORRERY_DEVICE void run(std::int64_t begin, std::int64_t end) {
    const auto count = [&](std::int64_t token) {
      return static_cast<int>(end - token < kTokens ? end - token : kTokens);
    };
    if (begin < end) load(0, begin, count(begin));
    int stage = 0;
    for (std::int64_t token = begin; token < end; token += kTokens, stage ^= 1) {
      async_wait<0>();
      __syncthreads();  // this stage has arrived; the other one and y have been read
      if (token + kTokens < end) load(stage ^ 1, token + kTokens, count(token + kTokens));
      for (int t = 0; t < count(token); ++t) step(shared.stage[stage], t);
      __syncthreads();
      store(token, count(token));
    }
  }
};

template <int states>
__global__ void __launch_bounds__(kThreads) scan_kernel(SelectiveScanArgs args) {
  constexpr int own = states / kLanes;
  __align__(16) __shared__ ScanShared<states> shared;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes;
  const std::int64_t seq = blockIdx.y;
  Scan<states> scan{args, shared, static_cast<int>(blockIdx.x) * kChannels, {}, {}, 0, 0};
  const std::int64_t channel = scan.first_channel + thread / kLanes;
  float* const state = args.state + (seq * args.channels + channel) * states + lane * own;
  const auto h = load_pack<own>(state);
  const auto a = load_pack<own>(args.a + channel * states + lane * own);
#pragma unroll
  for (int n = 0; n < own; ++n) scan.h[n] = h.v[n], scan.a[n] = a.v[n];
  scan.d = args.d[channel], scan.bias = args.delta_bias[channel];
  scan.run(args.starts == nullptr ? seq : args.starts[seq],
           args.starts == nullptr ? seq + 1 : args.starts[seq + 1]);
  Pack<float, own> out;
#pragma unroll
  for (int n = 0; n < own; ++n) out.v[n] = scan.h[n];
  store_pack(state, out);
}

constexpr int kConvThreads = 128, kConvTokens = 16;

/// Eight channels of up to 16 tokens of one sequence per thread; the window moves through registers.
__global__ void __launch_bounds__(kConvThreads) conv_kernel(CausalConvArgs args) {
  const int channel = (static_cast<int>(blockIdx.x) * kConvThreads + static_cast<int>(threadIdx.x)) * 8;
  if (channel >= args.channels) return;
  constexpr int past = kConvWidth - 1;
  const std::int64_t seq = blockIdx.z, begin = args.starts[seq], length = args.starts[seq + 1] - begin;
  const bf16* const x = args.x + begin * args.channels + channel;
  const auto input = [&](std::int64_t t) {  // before the first token: the state
    const bf16* from =
        t >= 0 ? x + t * args.channels : args.before + (seq * past + past + t) * args.channels + channel;
    return load_pack<8>(from);
  };
  Pack<bf16, kConvWidth> weight[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) weight[i] = load_pack<kConvWidth>(args.weight + (channel + i) * kConvWidth);
  const auto bias = load_pack<8>(args.bias + channel);
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * kConvTokens;
  if (blockIdx.y > 0 && first >= length) return;
  const std::int64_t last = first + kConvTokens < length ? first + kConvTokens : length;
  Pack<bf16, 8> window[kConvWidth];
#pragma unroll
  for (int i = 0; i < past; ++i) window[i + 1] = input(first - past + i);
  for (std::int64_t t = first; t < last; ++t) {
#pragma unroll
    for (int i = 0; i < past; ++i) window[i] = window[i + 1];
    window[past] = input(t);
    Pack<bf16, 8> y;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float sum = to_float(bias.v[i]);
#pragma unroll
      for (int tap = 0; tap < kConvWidth; ++tap)
        sum += to_float(weight[i].v[tap]) * to_float(window[tap].v[i]);
      y.v[i] = from_float<bf16>(silu(sum));
    }
    store_pack(args.y + (begin + t) * args.channels + channel, y);
  }
  if (blockIdx.y == 0) {
#pragma unroll
    for (int i = 0; i < past; ++i) {
      store_pack(args.after + (seq * past + i) * args.channels + channel, input(length - past + i));
    }
  }
}

}  // namespace

void selective_scan(const SelectiveScanArgs& args, StreamRef stream) {
  if (args.seqs == 0) return;
  ORRERY_CHECK(args.channels % kChannels == 0, "a selective scan of channels not a multiple of 32");
  ORRERY_CHECK(args.states == 8 || args.states == 16 || args.states == 32,
               "a selective scan with states other than 8, 16 or 32");
  const LaunchShape shape{
      dim3(static_cast<unsigned>(args.channels / kChannels), static_cast<unsigned>(args.seqs)),
      dim3(kThreads), 0, stream};
  launch(args.states == 8    ? scan_kernel<8>
         : args.states == 16 ? scan_kernel<16>
                             : scan_kernel<32>,
         shape, args);
}

void causal_conv(const CausalConvArgs& args, StreamRef stream) {
  if (args.seqs == 0) return;
  ORRERY_CHECK(args.channels % 8 == 0, "a convolution of channels not a multiple of 8");
  const auto blocks = static_cast<unsigned>(ceil_div(args.channels / 8, kConvThreads));
  const auto spans = static_cast<unsigned>(std::max(1, ceil_div(args.longest, kConvTokens)));
  launch(conv_kernel, {dim3(blocks, spans, static_cast<unsigned>(args.seqs)), dim3(kConvThreads), 0, stream},
         args);
}

namespace {

using Sizes = std::vector<std::int64_t>;

Case case_of(const KernelClass& cls, const Sizes& dims, bool ragged = false) {
  KernelClass::Dims d{};
  for (std::size_t i = 0; i < dims.size(); ++i) d[i] = static_cast<double>(dims[i]);
  Case c;
  c.call = make_call(cls, d, DType::bf16, DType::fp32);
  c.variant = "channels_across";
  if (ragged) c.with["ragged"] = 1;
  return c;
}

class SelectiveScan final : public Component {
 public:
  std::string_view source() const override {
    return "Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023, algorithm 2";
  }
  std::vector<Case> sweep(const DeviceInfo&) const override;
  std::vector<Case> checks() const override {
    return {case_of(kSelectiveScan, {1, 1, 32, 16}),        case_of(kSelectiveScan, {16, 1, 64, 16}),
            case_of(kSelectiveScan, {50, 3, 32, 16}, true), case_of(kSelectiveScan, {33, 1, 32, 8}),
            case_of(kSelectiveScan, {17, 2, 32, 32}),       case_of(kSelectiveScanDecode, {3, 64, 16}),
            case_of(kSelectiveScanDecode, {1, 32, 8}),      case_of(kCausalConv, {1, 1, 8, 4}),
            case_of(kCausalConv, {17, 2, 1032, 4}, true),   case_of(kCausalConv, {50, 3, 64, 4}, true),
            case_of(kCausalConvDecode, {5, 72, 4})};
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(call.dims[i]); };
    const auto scans = [&](std::int64_t channels, std::int64_t states) {
      return channels % kChannels == 0 && (states == 8 || states == 16 || states == 32);
    };
    const auto convolves = [](std::int64_t channels, std::int64_t width) {
      return channels % 8 == 0 && width == kConvWidth;
    };
    if (call.cls == &kSelectiveScan && scans(dim(2), dim(3)))
      return {case_of(*call.cls, {dim(0), dim(1), dim(2), dim(3)})};
    if (call.cls == &kSelectiveScanDecode && scans(dim(1), dim(2)))
      return {case_of(*call.cls, {dim(0), dim(1), dim(2)})};
    if (call.cls == &kCausalConv && convolves(dim(2), dim(3)))
      return {case_of(*call.cls, {dim(0), dim(1), dim(2), dim(3)})};
    if (call.cls == &kCausalConvDecode && convolves(dim(1), dim(2)))
      return {case_of(*call.cls, {dim(0), dim(1), dim(2)})};
    return {};
  }
  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (device.cc_major < 8) return "asynchronous copies begin with compute capability 8.0";
    if (c.call.work.hbm_bytes() > 0.85 * static_cast<double>(device.memory_bytes))
      return "states and tokens larger than the device's memory";
    return std::nullopt;
  }
  std::unique_ptr<Instance> make(const Case& c) const override { return make_selective_scan_instance(c); }
};

/// Channels of Mamba 130M to 2.8B, Falcon-Mamba 7B and Jamba 1.5 (8192 and 16384), and their shards.
std::vector<Case> SelectiveScan::sweep(const DeviceInfo&) const {
  const Sizes prompts{2048, 8192, 512, 128, 4096, 1024, 16384}, batches{64, 1, 256, 16, 128, 4, 512, 32};
  std::vector<Case> cases;
  for (const std::int64_t channels : {8192, 5120, 2048, 1024, 16384, 4096, 1536}) {
    for (const auto n : batches) cases.push_back(case_of(kSelectiveScanDecode, {n, channels, 16}));
    for (const auto tokens : prompts) cases.push_back(case_of(kSelectiveScan, {tokens, 1, channels, 16}));
    for (const auto tokens : prompts) cases.push_back(case_of(kCausalConv, {tokens, 1, channels, 4}));
    for (const auto n : batches) cases.push_back(case_of(kCausalConvDecode, {n, channels, 4}));
    cases.push_back(case_of(kSelectiveScan, {8192, 8, channels, 16}, true));
    cases.push_back(case_of(kSelectiveScan, {2048, 4, channels, 16}));
    cases.push_back(case_of(kCausalConv, {8192, 8, channels, 4}, true));
  }
  return cases;
}

const SelectiveScan component;

}  // namespace

const Registration<Components> selective_scan_component{
    "selective_scan", "Mamba's selective scan and the short convolution before it", &component};

}  // namespace orrery::kernels
