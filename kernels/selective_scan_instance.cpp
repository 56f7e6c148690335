#include "selective_scan_instance.hpp"

#include <algorithm>
#include <cmath>

#include "linear_problem.hpp"
#include "ops/recurrent.hpp"
#include "random.hpp"
#include "selective_scan.hpp"

namespace orrery::kernels {
namespace {

double sigmoid_of(double x) {
  return 1 / (1 + std::exp(-x));
}

/// First tokens of sequences of these lengths, and the end.
std::vector<std::int32_t> starts_of(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int32_t> starts{0};
  for (const auto length : lengths) starts.push_back(starts.back() + static_cast<std::int32_t>(length));
  return starts;
}

class ScanInstance final : public Instance {
 public:
  /// Without `lengths` of prompts: one token per sequence.
  ScanInstance(const std::vector<std::int64_t>& lengths, bool decode, std::int64_t channels,
               std::int64_t states, std::uint64_t seed)
      : first_(starts_of(lengths)), seed_(seed) {
    const auto tokens = static_cast<std::size_t>(first_.back()), width = static_cast<std::size_t>(channels),
               n = static_cast<std::size_t>(states);
    for (DeviceArray<bf16>* rows : {&x_, &delta_, &z_}) *rows = random_array<bf16>(tokens * width, seed++);
    for (DeviceArray<bf16>* rows : {&b_, &c_}) *rows = random_array<bf16>(tokens * n, seed++);
    std::vector<float> a(width * n);  // -1, -2, ... -states, as Mamba initialises it
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = -static_cast<float>(i % n + 1);
    a_ = DeviceArray<float>(std::span<const float>(a));
    d_ = random_array<float>(width, seed++), bias_ = random_array<float>(width, seed++, 2.0F);
    y_ = poisoned_array<bf16>(tokens * width);
    state_ = random_array<float>(lengths.size() * width * n, seed_ + 100);
    starts_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(first_));
    args_ = {x_.data(),
             delta_.data(),
             z_.data(),
             b_.data(),
             c_.data(),
             a_.data(),
             d_.data(),
             bias_.data(),
             y_.data(),
             state_.data(),
             decode ? nullptr : starts_.data(),
             static_cast<int>(lengths.size()),
             static_cast<int>(channels),
             static_cast<int>(states)};
  }
  void launch(StreamRef stream) override { selective_scan(args_, stream); }

  Check check() override {
    fill_random(state_.data(), state_.size(), seed_ + 100, 1.0F);  // earlier launches have moved it
    auto state = to_doubles(state_);
    selective_scan(args_, nullptr);
    const auto x = to_doubles(x_), delta = to_doubles(delta_), z = to_doubles(z_), b = to_doubles(b_),
               c = to_doubles(c_), a = to_doubles(a_), d = to_doubles(d_), bias = to_doubles(bias_);
    std::vector<double> y(x.size());
    const auto channels = static_cast<std::size_t>(args_.channels),
               states = static_cast<std::size_t>(args_.states);
    for (std::size_t seq = 0; seq + 1 < first_.size(); ++seq) {
      for (auto t = static_cast<std::size_t>(first_[seq]); t < static_cast<std::size_t>(first_[seq + 1]);
           ++t) {
        for (std::size_t channel = 0; channel < channels; ++channel) {
          const std::size_t at = t * channels + channel;
          const double step = std::log1p(std::exp(delta[at] + bias[channel]));
          double sum = d[channel] * x[at];
          for (std::size_t n = 0; n < states; ++n) {
            double& h = state[(seq * channels + channel) * states + n];
            h = std::exp(step * a[channel * states + n]) * h + step * b[t * states + n] * x[at];
            sum += c[t * states + n] * h;
          }
          y[at] = sum * z[at] * sigmoid_of(z[at]);
        }
      }
    }
    const Check out = compare(to_doubles(y_), y, 6e-3), kept = compare(to_doubles(state_), state, 6e-3);
    return out.error > kept.error ? out : kept;
  }

 private:
  std::vector<std::int32_t> first_;
  std::uint64_t seed_;
  DeviceArray<bf16> x_, delta_, z_, b_, c_, y_;
  DeviceArray<float> a_, d_, bias_, state_;
  DeviceArray<std::int32_t> starts_;
  SelectiveScanArgs args_;
};

class ConvInstance final : public Instance {
 public:
  ConvInstance(const std::vector<std::int64_t>& lengths, std::int64_t channels, std::uint64_t seed)
      : first_(starts_of(lengths)) {
    const auto tokens = static_cast<std::size_t>(first_.back()), width = static_cast<std::size_t>(channels);
    x_ = random_array<bf16>(tokens * width, seed), weight_ = random_array<bf16>(width * kConvWidth, seed + 1);
    bias_ = random_array<bf16>(width, seed + 2), y_ = poisoned_array<bf16>(tokens * width);
    before_ = random_array<bf16>(lengths.size() * (kConvWidth - 1) * width, seed + 3);
    after_ = poisoned_array<bf16>(before_.size());
    starts_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(first_));
    args_ = {x_.data(),
             weight_.data(),
             bias_.data(),
             y_.data(),
             before_.data(),
             after_.data(),
             starts_.data(),
             static_cast<int>(lengths.size()),
             static_cast<int>(channels),
             static_cast<int>(*std::max_element(lengths.begin(), lengths.end()))};
  }
  void launch(StreamRef stream) override { causal_conv(args_, stream); }

  Check check() override {
    const auto x = to_doubles(x_), weight = to_doubles(weight_), bias = to_doubles(bias_),
               before = to_doubles(before_);
    std::vector<double> y(x.size()), after(before.size());
    const auto channels = static_cast<std::size_t>(args_.channels);
    constexpr std::int64_t past = kConvWidth - 1;
    for (std::size_t seq = 0; seq + 1 < first_.size(); ++seq) {
      const std::int64_t begin = first_[seq], length = first_[seq + 1] - begin;
      for (std::size_t channel = 0; channel < channels; ++channel) {
        const auto input = [&](std::int64_t t) {
          return t >= 0 ? x[static_cast<std::size_t>(begin + t) * channels + channel]
                        : before[(seq * past + static_cast<std::size_t>(past + t)) * channels + channel];
        };
        for (std::int64_t t = 0; t < length; ++t) {
          double sum = bias[channel];
          for (std::int64_t i = 0; i < kConvWidth; ++i)
            sum += weight[channel * kConvWidth + static_cast<std::size_t>(i)] * input(t - past + i);
          y[static_cast<std::size_t>(begin + t) * channels + channel] = sum * sigmoid_of(sum);
        }
        for (std::int64_t i = 0; i < past; ++i)
          after[(seq * past + static_cast<std::size_t>(i)) * channels + channel] = input(length - past + i);
      }
    }
    const Check out = compare(to_doubles(y_), y, 6e-3), kept = compare(to_doubles(after_), after, 0);
    return kept.passed() ? out : kept;
  }

 private:
  std::vector<std::int32_t> first_;
  DeviceArray<bf16> x_, weight_, bias_, y_, before_, after_;
  DeviceArray<std::int32_t> starts_;
  CausalConvArgs args_;
};

}  // namespace

std::unique_ptr<Instance> make_selective_scan_instance(const Case& c) {
  const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(c.call.dims[i]); };
  const bool decode = c.call.cls->scaling == KernelClass::Scaling::decode;
  const std::size_t sizes = decode ? 1 : 2;  // where the sizes of the layer begin
  const auto lengths = prompt_lengths(dim(0), dim(sizes - 1), c.option("ragged", 0) != 0);
  if (c.call.cls == &kCausalConv || c.call.cls == &kCausalConvDecode)
    return std::make_unique<ConvInstance>(lengths, dim(sizes), c.seed);
  return std::make_unique<ScanInstance>(lengths, decode, dim(sizes), dim(sizes + 1), c.seed);
}

}  // namespace orrery::kernels
