#include <algorithm>
#include <cmath>

#include "component.hpp"
#include "device/platform.cuh"
#include "gated_scan.hpp"
#include "linear_problem.hpp"
#include "ops/recurrent.hpp"
#include "random.hpp"

// Elementwise gated linear recurrences (RG-LRU of Griffin, De et al., 2024; HGRN; minGRU): a thread per two
// channels goes through 64 tokens; prompts of more are cut into spans of 64 that are first summed up in
// parallel (the product of their a, and h from zero), and then scanned from the state that the summaries
// before them give, as a blocked prefix sum does (Blelloch, 1990). Bound by memory: the streams are read
// twice and h written once, single tokens once each. Aim: 85% of copy bandwidth of that traffic.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 64, kPer = 2, kSpan = 64, kBatch = 8;

struct Coefficients {
  float a, b;
};

/// a and b from the streams at one token; `rate`: -8 softplus(parameter).
template <GatedScanRule rule>
ORRERY_DEVICE Coefficients coefficients(float x, float gate, float input_gate, float rate) {
  if constexpr (rule == GatedScanRule::rg_lru) {
    const float log_a = rate * sigmoid(gate);
    const float kept = fast_exp(log_a);
    return {kept, sqrtf(fmaxf(-expm1f(2 * log_a), 0.0F)) * sigmoid(input_gate) * x};
  } else {
    const float taken = sigmoid(gate);
    return {1.0F - taken, taken * x};
  }
}

/// Calls visit(place in a stream, a and b of the thread's channels) for the tokens [begin, end).
template <GatedScanRule rule, class Visit>
ORRERY_DEVICE void each_token(const GatedScanArgs& args, int channel, std::int64_t begin, std::int64_t end,
                              Visit visit) {
  float rate[kPer] = {};
  if (rule == GatedScanRule::rg_lru) {
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const float p = args.parameter[channel + i];
      rate[i] = -8.0F * (p > 20.0F ? p : log1pf(fast_exp(p)));
    }
  }
  for (std::int64_t token = begin; token < end; token += kBatch) {
    Pack<bf16, kPer> x[kBatch], gate[kBatch], input[kBatch];
#pragma unroll
    for (int t = 0; t < kBatch; ++t) {  // all loads before the first store, past which none may be moved
      const std::int64_t at = (token + t < end ? token + t : token) * args.channels + channel;
      x[t] = load_pack<kPer>(args.x + at), gate[t] = load_pack<kPer>(args.gate + at);
      input[t] = rule == GatedScanRule::rg_lru ? load_pack<kPer>(args.input_gate + at) : Pack<bf16, kPer>{};
    }
#pragma unroll
    for (int t = 0; t < kBatch; ++t) {
      if (token + t >= end) continue;
      Coefficients c[kPer];
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
        c[i] =
            coefficients<rule>(to_float(x[t].v[i]), to_float(gate[t].v[i]), to_float(input[t].v[i]), rate[i]);
      }
      visit((token + t) * args.channels + channel, c);
    }
  }
}

struct Span {
  std::int64_t begin, end;
  int channel;
  bool last;
};
/// What this thread has to do; an empty span beyond the sequence's end or the channels.
ORRERY_DEVICE Span own_span(const GatedScanArgs& args) {
  const std::int64_t first = args.starts[blockIdx.z], stop = args.starts[blockIdx.z + 1];
  const std::int64_t begin = first + static_cast<std::int64_t>(blockIdx.y) * kSpan;
  const std::int64_t end = begin + kSpan < stop ? begin + kSpan : stop;
  const int channel = (static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x)) * kPer;
  return {begin, channel < args.channels ? end : begin, channel, begin < stop && begin + kSpan >= stop};
}
/// Where the summary of a span begins: products of a first, values of h behind all of those.
ORRERY_DEVICE float* summary(const GatedScanArgs& args, int spans, unsigned span, int channel, int which) {
  const std::int64_t row = (static_cast<std::int64_t>(which) * args.seqs + blockIdx.z) * spans + span;
  return args.summaries + row * args.channels + channel;
}

template <GatedScanRule rule>
__global__ void __launch_bounds__(kThreads) summary_kernel(GatedScanArgs args, int spans) {
  const Span span = own_span(args);
  if (span.begin >= span.end || span.last) return;  // nobody needs the last one's
  Pack<float, kPer> product, h;
#pragma unroll
  for (int i = 0; i < kPer; ++i) product.v[i] = 1, h.v[i] = 0;
  each_token<rule>(args, span.channel, span.begin, span.end, [&](std::int64_t, const Coefficients(&c)[kPer]) {
#pragma unroll
    for (int i = 0; i < kPer; ++i) product.v[i] *= c[i].a, h.v[i] = c[i].a * h.v[i] + c[i].b;
  });
  store_pack(summary(args, spans, blockIdx.y, span.channel, 0), product);
  store_pack(summary(args, spans, blockIdx.y, span.channel, 1), h);
}

template <GatedScanRule rule>
__global__ void __launch_bounds__(kThreads) scan_kernel(GatedScanArgs args, int spans) {
  const Span span = own_span(args);
  if (span.begin >= span.end) return;
  const std::int64_t state = static_cast<std::int64_t>(blockIdx.z) * args.channels + span.channel;
  auto h = load_pack<kPer>(args.before + state);
#pragma unroll 4
  for (unsigned before = 0; before < blockIdx.y; ++before) {
    const auto product = load_pack<kPer>(summary(args, spans, before, span.channel, 0)),
               added = load_pack<kPer>(summary(args, spans, before, span.channel, 1));
#pragma unroll
    for (int i = 0; i < kPer; ++i) h.v[i] = product.v[i] * h.v[i] + added.v[i];
  }
  each_token<rule>(args, span.channel, span.begin, span.end,
                   [&](std::int64_t at, const Coefficients(&c)[kPer]) {
                     Pack<bf16, kPer> out;
#pragma unroll
                     for (int i = 0; i < kPer; ++i)
                       h.v[i] = c[i].a * h.v[i] + c[i].b, out.v[i] = from_float<bf16>(h.v[i]);
                     store_pack(args.h + at, out);
                   });
  if (span.last) store_pack(args.after + state, h);
}

template <GatedScanRule rule>
void run(const GatedScanArgs& args, StreamRef stream) {
  const int spans = gated_scan_spans(args.longest);
  const LaunchShape shape{dim3(static_cast<unsigned>(ceil_div(args.channels, kThreads * kPer)),
                               static_cast<unsigned>(spans), static_cast<unsigned>(args.seqs)),
                          dim3(kThreads), 0, stream};
  if (spans > 1) launch(summary_kernel<rule>, shape, args, spans);
  launch(scan_kernel<rule>, shape, args, spans);
}

}  // namespace

int gated_scan_spans(int longest) {
  return std::max(1, ceil_div(longest, kSpan));
}

void gated_scan(const GatedScanArgs& args, StreamRef stream) {
  if (args.seqs == 0) return;
  ORRERY_CHECK(args.channels % 8 == 0, "a gated scan of channels not a multiple of 8");
  if (args.rule == GatedScanRule::rg_lru) {
    run<GatedScanRule::rg_lru>(args, stream);
  } else {
    run<GatedScanRule::complement>(args, stream);
  }
}

namespace {

double sigmoid_of(double x) {
  return 1 / (1 + std::exp(-x));
}

class GatedScanInstance final : public Instance {
 public:
  GatedScanInstance(std::vector<std::int64_t> lengths, GatedScanRule rule, std::int64_t channels,
                    std::uint64_t seed)
      : lengths_(std::move(lengths)) {
    std::vector<std::int32_t> starts{0};
    for (const auto length : lengths_) starts.push_back(starts.back() + static_cast<std::int32_t>(length));
    const auto width = static_cast<std::size_t>(channels),
               n = static_cast<std::size_t>(starts.back()) * width;
    const int longest = static_cast<int>(*std::max_element(lengths_.begin(), lengths_.end()));
    const auto spans = static_cast<std::size_t>(gated_scan_spans(longest));
    x_ = random_array<bf16>(n, seed), gate_ = random_array<bf16>(n, seed + 1, 3.0F);
    if (rule == GatedScanRule::rg_lru) {
      input_ = random_array<bf16>(n, seed + 2), parameter_ = random_array<float>(width, seed + 3, 4.0F);
    }
    h_ = poisoned_array<bf16>(n), before_ = random_array<float>(lengths_.size() * width, seed + 4);
    after_ = poisoned_array<float>(before_.size());
    summaries_ = poisoned_array<float>(2 * lengths_.size() * spans * width);
    starts_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(starts));
    args_ = {rule,
             x_.data(),
             gate_.data(),
             input_.data(),
             parameter_.data(),
             h_.data(),
             before_.data(),
             after_.data(),
             starts_.data(),
             summaries_.data(),
             static_cast<int>(lengths_.size()),
             static_cast<int>(channels),
             longest};
  }
  void launch(StreamRef stream) override { gated_scan(args_, stream); }

  Check check() override {
    gated_scan(args_, nullptr);
    const auto x = to_doubles(x_), gate = to_doubles(gate_), input = to_doubles(input_),
               parameter = to_doubles(parameter_);
    auto state = to_doubles(before_);
    std::vector<double> out;
    const auto channels = static_cast<std::size_t>(args_.channels);
    for (std::size_t seq = 0, at = 0; seq < lengths_.size(); ++seq) {
      for (std::int64_t t = 0; t < lengths_[seq]; ++t) {
        for (std::size_t channel = 0; channel < channels; ++channel, ++at) {
          double& h = state[seq * channels + channel];
          if (args_.rule == GatedScanRule::rg_lru) {
            const double log_a = -8 * std::log1p(std::exp(parameter[channel])) * sigmoid_of(gate[at]);
            h = std::exp(log_a) * h + std::sqrt(1 - std::exp(2 * log_a)) * sigmoid_of(input[at]) * x[at];
          } else {
            h += sigmoid_of(gate[at]) * (x[at] - h);
          }
          out.push_back(h);
        }
      }
    }
    const Check all = compare(to_doubles(h_), out, 5e-3), last = compare(to_doubles(after_), state, 1e-4);
    return last.passed() ? all : last;
  }

 private:
  std::vector<std::int64_t> lengths_;
  DeviceArray<bf16> x_, gate_, input_, h_;
  DeviceArray<float> parameter_, before_, after_, summaries_;
  DeviceArray<std::int32_t> starts_;
  GatedScanArgs args_;
};

class GatedScan final : public Component {
 public:
  std::string_view source() const override {
    return "De et al., Griffin, 2024, section 2.4; Feng et al., Were RNNs All We Needed?, 2024";
  }
  /// Widths of RecurrentGemma 2B and 9B, HGRN, and shards.
  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const std::int64_t channels : {2560, 4096, 1024, 5120, 2048, 512}) {
      for (const std::int64_t streams : {3, 2}) {
        for (const std::int64_t n : {64, 1, 256, 16, 128, 512}) cases.push_back(token(n, channels, streams));
        for (const std::int64_t n : {2048, 8192, 512, 128, 16384, 4096, 1024})
          cases.push_back(prompts(n, 1, channels, streams));
        cases.push_back(prompts(8192, 8, channels, streams));
        cases.push_back(prompts(8192, 4, channels, streams, true));
      }
    }
    return cases;
  }
  std::vector<Case> checks() const override {
    return {prompts(1, 1, 8, 3),
            prompts(64, 1, 136, 3),
            prompts(65, 1, 128, 2),
            prompts(300, 3, 40, 3, true),
            prompts(200, 2, 264, 2, true),
            token(5, 72, 3),
            token(1, 256, 2)};
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    const bool decode = call.cls == &kGatedScanDecode;
    if (call.cls != &kGatedScan && !decode) return {};
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(call.dims[i]); };
    const std::size_t channels = decode ? 1 : 2;
    if (dim(channels) % 8 != 0 || (dim(channels + 1) != 2 && dim(channels + 1) != 3)) return {};
    return {decode ? token(dim(0), dim(1), dim(2)) : prompts(dim(0), dim(1), dim(2), dim(3))};
  }
  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (1.5 * c.call.work.hbm_bytes() > 0.85 * static_cast<double>(device.memory_bytes))
      return "states and tokens larger than the device's memory";
    return std::nullopt;
  }
  std::unique_ptr<Instance> make(const Case& c) const override {
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(c.call.dims[i]); };
    const std::size_t channels = c.call.cls == &kGatedScanDecode ? 1 : 2;
    return std::make_unique<GatedScanInstance>(
        prompt_lengths(dim(0), dim(channels - 1), c.option("ragged", 0) != 0),
        dim(channels + 1) == 3 ? GatedScanRule::rg_lru : GatedScanRule::complement, dim(channels), c.seed);
  }

 private:
  static Case of(const KernelClass& cls, const KernelClass::Dims& dims, double streams) {
    Case c;
    c.call = make_call(cls, dims, DType::bf16, DType::fp32);
    c.variant = streams == 3 ? "rg_lru" : "complement";
    return c;
  }
  static Case token(std::int64_t seqs, std::int64_t channels, std::int64_t streams) {
    const auto s = static_cast<double>(streams);
    return of(kGatedScanDecode, {static_cast<double>(seqs), static_cast<double>(channels), s}, s);
  }
  static Case prompts(std::int64_t tokens, std::int64_t seqs, std::int64_t channels, std::int64_t streams,
                      bool ragged = false) {
    const auto s = static_cast<double>(streams);
    Case c =
        of(kGatedScan,
           {static_cast<double>(tokens), static_cast<double>(seqs), static_cast<double>(channels), s}, s);
    if (ragged) c.with["ragged"] = 1;
    return c;
  }
};

const GatedScan component;

}  // namespace

const Registration<Components> gated_scan_component{
    "gated_scan", "elementwise gated recurrences: RG-LRU, HGRN, minGRU", &component};

}  // namespace orrery::kernels
