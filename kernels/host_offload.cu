#include <chrono>
#include <cmath>

#include "component.hpp"
#include "host_compute.hpp"
#include "ops/host_compute.hpp"
#include "random.hpp"

// Linear layers and decode attention on the host's cores (host_compute.cpp), for models whose weights or KV
// stay in host memory. Bound by host memory; timed by the host's clock.

namespace orrery::kernels {
namespace {

HostPool& pool() {
  static HostPool all;  // one set of threads for the process, as an engine has
  return all;
}

template <class F>
double timed(F&& work) {
  using Clock = std::chrono::steady_clock;
  const auto started = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - started).count();
}

std::vector<float> random_floats(std::size_t n, std::uint64_t seed) {
  return random_array<float>(n, seed).download();
}

class HostGemmInstance final : public Instance {
 public:
  HostGemmInstance(int m, int n, int k, std::uint64_t seed)
      : m_(m),
        n_(n),
        k_(k),
        x_(random_floats(static_cast<std::size_t>(m) * static_cast<std::size_t>(k), seed)),
        w_(random_array<bf16>(static_cast<std::size_t>(n) * static_cast<std::size_t>(k), seed + 1)
               .download()),
        y_(static_cast<std::size_t>(m) * static_cast<std::size_t>(n), NAN) {}
  void launch(StreamRef) override { host_gemm(pool(), y_.data(), x_.data(), w_.data(), m_, n_, k_); }
  double measure() override {
    return timed([&] { launch(nullptr); });
  }
  Check check() override {
    std::vector<double> reference;
    for (int i = 0; i < m_; ++i) {
      for (int j = 0; j < n_; ++j) {
        double sum = 0;
        for (int l = 0; l < k_; ++l) {
          sum += static_cast<double>(x_[static_cast<std::size_t>(i * k_ + l)]) *
                 static_cast<double>(to_float(w_[static_cast<std::size_t>(j * k_ + l)]));
        }
        reference.push_back(sum);
      }
    }
    return compare(std::vector<double>(y_.begin(), y_.end()), reference, 1e-5);
  }

 private:
  int m_, n_, k_;
  std::vector<float> x_;
  std::vector<bf16> w_;
  std::vector<float> y_;
};

class HostAttentionInstance final : public Instance {
 public:
  HostAttentionInstance(int seqs, std::int64_t context, int heads, int kv_heads, int head_dim,
                        std::uint64_t seed) {
    for (std::int64_t s = 0; s <= seqs; ++s) starts_.push_back(context * s / seqs);
    const auto rows = static_cast<std::size_t>(seqs * heads * head_dim);
    q_ = random_floats(rows, seed), out_ = std::vector<float>(rows, NAN);
    const auto cache = static_cast<std::size_t>(context) * static_cast<std::size_t>(kv_heads * head_dim);
    k_ = random_array<bf16>(cache, seed + 1).download(), v_ = random_array<bf16>(cache, seed + 2).download();
    args_ = {out_.data(), q_.data(), k_.data(), v_.data(), starts_.data(), seqs, heads, kv_heads, head_dim};
  }
  void launch(StreamRef) override { host_attention_decode(pool(), args_); }
  double measure() override {
    return timed([&] { launch(nullptr); });
  }
  Check check() override {
    std::vector<double> reference(out_.size());
    for (int s = 0; s < args_.seqs; ++s) {
      for (int h = 0; h < args_.heads; ++h) attend(s, h, reference);
    }
    return compare(std::vector<double>(out_.begin(), out_.end()), reference, 1e-5);
  }

 private:
  void attend(int seq, int head, std::vector<double>& out) const {
    const int dim = args_.head_dim, kv_head = head / (args_.heads / args_.kv_heads);
    const auto row = static_cast<std::size_t>((seq * args_.heads + head) * dim);
    const auto at = [&](std::int64_t token, int i) {
      return static_cast<std::size_t>((token * args_.kv_heads + kv_head) * dim + i);
    };
    std::vector<double> scores;
    for (std::int64_t t = starts_[static_cast<std::size_t>(seq)];
         t < starts_[static_cast<std::size_t>(seq) + 1]; ++t) {
      double score = 0;
      for (int i = 0; i < dim; ++i)
        score += static_cast<double>(q_[row + static_cast<std::size_t>(i)]) *
                 static_cast<double>(to_float(k_[at(t, i)]));
      scores.push_back(std::exp(score / std::sqrt(dim)));
    }
    double sum = 0;
    for (const double s : scores) sum += s;
    for (std::size_t j = 0; j < scores.size(); ++j) {
      const auto token = starts_[static_cast<std::size_t>(seq)] + static_cast<std::int64_t>(j);
      for (int i = 0; i < dim; ++i)
        out[row + static_cast<std::size_t>(i)] +=
            scores[j] / sum * static_cast<double>(to_float(v_[at(token, i)]));
    }
  }

  std::vector<std::int64_t> starts_;
  std::vector<float> q_, out_;
  std::vector<bf16> k_, v_;
  HostAttentionArgs args_;
};

class HostOffload final : public Component {
 public:
  std::string_view source() const override {
    return "FlexGen, Sheng et al., 2023, section 4; FastDecode, He and Zhai, 2024";
  }
  Timing timing(const Case&) const override { return Timing::own; }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const double m : {1, 8, 64}) {
      for (const auto& [n, k] : {std::pair{6144.0, 4096.0}, {4096, 4096}, {28672, 4096}, {4096, 14336}})
        cases.push_back(gemm(m, n, k));
    }
    for (const double seqs : {1, 16, 64}) {
      for (const double length : {1024, 8192}) cases.push_back(attention(seqs, seqs * length, 32, 8, 128));
    }
    return cases;
  }
  std::vector<Case> checks() const override {
    return {gemm(1, 5, 33), gemm(3, 1, 64), attention(1, 7, 2, 2, 64), attention(3, 50, 4, 1, 128)};
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto& d = call.dims;
    if (call.cls == &kHostGemm) return {gemm(d[0], d[1], d[2])};
    if (call.cls == &kHostAttentionDecode) return {attention(d[0], d[1], d[2], d[3], d[4])};
    return {};
  }
  std::unique_ptr<Instance> make(const Case& c) const override {
    const auto at = [&](std::size_t i) { return static_cast<int>(c.call.dims[i]); };
    if (c.call.cls == &kHostGemm) return std::make_unique<HostGemmInstance>(at(0), at(1), at(2), c.seed);
    const auto context = static_cast<std::int64_t>(c.call.dims[1]);
    return std::make_unique<HostAttentionInstance>(at(0), context, at(2), at(3), at(4), c.seed);
  }

 private:
  static Case of(const KernelClass& cls, const KernelClass::Dims& dims) {
    Case c;
    c.call = make_call(cls, dims, DType::fp32, DType::bf16);
    c.call.lane = Lane::cpu;
    c.variant = "all_cores";
    return c;
  }
  static Case gemm(double m, double n, double k) { return of(kHostGemm, {m, n, k}); }
  static Case attention(double seqs, double context, double heads, double kv_heads, double dim) {
    return of(kHostAttentionDecode, {seqs, context, heads, kv_heads, dim});
  }
};

const HostOffload component;

}  // namespace

const Registration<Components> host_offload{
    "host_offload", "linear layers and decode attention on the host's cores", &component};

}  // namespace orrery::kernels
