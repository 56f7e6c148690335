#include <bit>

#include "component.hpp"
#include "long_conv.hpp"
#include "ops/recurrent.hpp"
#include "random.hpp"

// Convolution with a filter as long as the sequence by FFT (Hyena, Poli et al., 2023): rows padded with zeros
// and widened to float, a real transform through cuFFT, the product with the filter's spectrum, the transform
// back, the skip connection. Bound by memory: 5 passes over rows of twice the length in float, where a fused
// FFT convolution needs two in bf16; so at most about a tenth of the speed of light of the class's Work.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256, kPer = kPerLoad<bf16>;

/// A thread per eight elements of the padded rows.
__global__ void __launch_bounds__(kThreads) pad_kernel(LongConvArgs args) {
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPer;
  const std::int64_t points = 2 * args.length, row = at / points, place = at % points;
  if (row >= args.seqs * args.channels) return;
  Pack<bf16, kPer> u{};
  if (place < args.length) u = load_pack<kPer>(args.u + row * args.length + place);
#pragma unroll
  for (int half = 0; half < kPer; half += 4) {
    Pack<float, 4> x;
#pragma unroll
    for (int i = 0; i < 4; ++i) x.v[i] = to_float(u.v[half + i]);
    store_pack(args.padded + at + half, x);
  }
}

/// spectrum *= filter / points: the inverse transform's scaling.
__global__ void __launch_bounds__(kThreads) product_kernel(LongConvArgs args) {
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t kept = args.length + 1;
  if (at >= args.seqs * args.channels * kept) return;
  const Complex x = args.spectrum[at], f = args.filter[at % (args.channels * kept)];
  const float scale = 0.5F / static_cast<float>(args.length);
  args.spectrum[at] = {(x.re * f.re - x.im * f.im) * scale, (x.re * f.im + x.im * f.re) * scale};
}

__global__ void __launch_bounds__(kThreads) output_kernel(LongConvArgs args) {
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPer;
  const std::int64_t row = at / args.length, place = at % args.length;
  if (row >= args.seqs * args.channels) return;
  const auto u = load_pack<kPer>(args.u + at);
  const float skip = args.skip[row % args.channels];
  Pack<bf16, kPer> y;
#pragma unroll
  for (int half = 0; half < kPer; half += 4) {
    const auto x = load_pack<4>(args.padded + 2 * row * args.length + place + half);
#pragma unroll
    for (int i = 0; i < 4; ++i) y.v[half + i] = from_float<bf16>(x.v[i] + skip * to_float(u.v[half + i]));
  }
  store_pack(args.y + at, y);
}

LaunchShape threads_for(std::int64_t elements, StreamRef stream) {
  return {dim3(static_cast<unsigned>(ceil_div<std::int64_t>(elements, kThreads))), dim3(kThreads), 0, stream};
}

bool knows(std::int64_t length) {
  return length >= kPer && std::has_single_bit(static_cast<std::uint64_t>(length));
}

}  // namespace

void long_convolution(const LongConvArgs& args, const RealFft& fft, StreamRef stream) {
  const std::int64_t rows = args.seqs * args.channels;
  if (rows == 0) return;
  ORRERY_CHECK(knows(args.length), "a long convolution of a length that is not a power of two");
  launch(pad_kernel, threads_for(rows * 2 * args.length / kPer, stream), args);
  fft.forward(args.padded, args.spectrum, stream);
  launch(product_kernel, threads_for(rows * (args.length + 1), stream), args);
  fft.inverse(args.spectrum, args.padded, stream);
  launch(output_kernel, threads_for(rows * args.length / kPer, stream), args);
}

namespace {

class LongConvInstance final : public Instance {
 public:
  LongConvInstance(std::int64_t seqs, std::int64_t channels, std::int64_t length, std::uint64_t seed)
      : fft_(2 * length, seqs * channels) {
    const auto rows = static_cast<std::size_t>(seqs * channels), n = static_cast<std::size_t>(length),
               width = static_cast<std::size_t>(channels);
    u_ = random_array<bf16>(rows * n, seed), taps_ = random_array<bf16>(width * n, seed + 1);
    skip_ = random_array<float>(width, seed + 2), y_ = poisoned_array<bf16>(rows * n);
    padded_ = poisoned_array<float>(rows * 2 * n), spectrum_ = poisoned_array<Complex>(rows * (n + 1));
    filter_ = poisoned_array<Complex>(width * (n + 1));
    args_ = {u_.data(),        filter_.data(), skip_.data(), y_.data(), padded_.data(),
             spectrum_.data(), seqs,           channels,     length};
    LongConvArgs filter = args_;  // the filter's rows padded and transformed once, by way of the workspace
    filter.u = taps_.data(), filter.seqs = 1;
    orrery::kernels::launch(pad_kernel, threads_for(channels * 2 * length / kPer, nullptr), filter);
    RealFft(2 * length, channels).forward(padded_.data(), filter_.data(), nullptr);
    synchronize(nullptr);  // before the plan goes
  }
  void launch(StreamRef stream) override { long_convolution(args_, fft_, stream); }

  Check check() override {
    const auto u = to_doubles(u_), taps = to_doubles(taps_), skip = to_doubles(skip_);
    const auto n = static_cast<std::size_t>(args_.length),
               channels = static_cast<std::size_t>(args_.channels);
    std::vector<double> y;
    for (std::size_t row = 0; row < u.size() / n; ++row) {
      const std::size_t channel = row % channels;
      for (std::size_t t = 0; t < n; ++t) {
        double sum = skip[channel] * u[row * n + t];
        for (std::size_t s = 0; s <= t; ++s) sum += taps[channel * n + t - s] * u[row * n + s];
        y.push_back(sum);
      }
    }
    return compare(to_doubles(y_), y, 5e-3);
  }

 private:
  RealFft fft_;
  DeviceArray<bf16> u_, taps_, y_;
  DeviceArray<float> skip_, padded_;
  DeviceArray<Complex> filter_, spectrum_;
  LongConvArgs args_;
};

class LongConv final : public Component {
 public:
  std::string_view source() const override { return "Poli et al., Hyena Hierarchy, 2023, section 3; cuFFT"; }
  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const std::int64_t channels : {4096, 2048, 1024, 768}) {
      for (const std::int64_t length : {2048, 8192, 512, 32768, 1024, 4096, 131072, 16384, 128, 65536, 256})
        cases.push_back(of(1, channels, length));
      for (const std::int64_t seqs : {4, 16}) {
        for (const std::int64_t length : {2048, 512}) cases.push_back(of(seqs, channels, length));
      }
    }
    return cases;
  }
  std::vector<Case> checks() const override {
    return {of(1, 1, 8), of(2, 3, 32), of(1, 5, 256), of(3, 2, 64)};
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(call.dims[i]); };
    if (call.cls != &kLongConvolution || !knows(dim(2))) return {};
    return {of(dim(0), dim(1), dim(2))};
  }
  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    // Padded rows, spectra, both plans' workspaces, inputs and outputs.
    const double bytes = c.call.dims[0] * c.call.dims[1] * c.call.dims[2] * (8 + 8 + 16 + 4);
    if (bytes > 0.85 * static_cast<double>(device.memory_bytes))
      return "padded rows larger than the device's memory";
    return std::nullopt;
  }
  std::unique_ptr<Instance> make(const Case& c) const override {
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(c.call.dims[i]); };
    return std::make_unique<LongConvInstance>(dim(0), dim(1), dim(2), c.seed);
  }

 private:
  static Case of(std::int64_t seqs, std::int64_t channels, std::int64_t length) {
    Case c;
    c.call =
        make_call(kLongConvolution,
                  {static_cast<double>(seqs), static_cast<double>(channels), static_cast<double>(length)},
                  DType::bf16, DType::bf16);
    c.variant = "cufft";
    return c;
  }
};

const LongConv component;

}  // namespace

const Registration<Components> long_conv_component{
    "long_conv", "convolution with a filter as long as the sequence, by FFT", &component};

}  // namespace orrery::kernels
