#include "component.hpp"
#include "gemm.hpp"
#include "gemm_shapes.hpp"
#include "ops/linear_compressed.hpp"
#include "random.hpp"

// y = (x A) B: a matrix replaced by two factors of low rank, or an adapter beside it (LoRA; Hu et al., 2021).
// Two launches of the dense GEMM's library; a pair is bound by reading its factors for few rows, and the
// first product by the few tiles a small rank makes.

namespace orrery::kernels {
namespace {

class LowRankInstance final : public Instance {
 public:
  explicit LowRankInstance(const Case& c)
      : first_{dim(c, 0), dim(c, 3), dim(c, 2), DType::bf16, GemmScaling::none},
        second_{dim(c, 0), dim(c, 1), dim(c, 3), DType::bf16, GemmScaling::none},
        x_(random_array<bf16>(size(first_.m, first_.k), c.seed)),
        a_(random_array<bf16>(size(first_.n, first_.k), c.seed + 1)),
        b_(random_array<bf16>(size(second_.n, second_.k), c.seed + 2)),
        between_(poisoned_array<bf16>(size(first_.m, first_.n))),
        y_(poisoned_array<bf16>(size(second_.m, second_.n))) {
    context_.plan(first_), context_.plan(second_);
  }

  void launch(StreamRef stream) override {
    GemmOperands operands;
    operands.x = x_.data(), operands.w = a_.data(), operands.y = between_.data();
    gemm(context_, GemmVariant::cublaslt, first_, operands, stream);
    operands.x = between_.data(), operands.w = b_.data(), operands.y = y_.data();
    gemm(context_, GemmVariant::cublaslt, second_, operands, stream);
  }

  Check check() override {
    const auto between = product(to_doubles(x_), to_doubles(a_), first_);
    return compare(to_doubles(y_), product(between, to_doubles(b_), second_), 1.2e-2);  // x A is rounded too
  }

 private:
  static std::int64_t dim(const Case& c, std::size_t i) { return static_cast<std::int64_t>(c.call.dims[i]); }
  static std::size_t size(std::int64_t rows, std::int64_t columns) {
    return static_cast<std::size_t>(rows * columns);
  }
  static std::vector<double> product(const std::vector<double>& x, const std::vector<double>& w,
                                     const GemmShape& s) {
    std::vector<double> y(size(s.m, s.n));
    for (std::int64_t i = 0; i < s.m; ++i) {
      for (std::int64_t j = 0; j < s.n; ++j) {
        for (std::int64_t k = 0; k < s.k; ++k) {
          y[size(i, s.n) + static_cast<std::size_t>(j)] +=
              x[size(i, s.k) + static_cast<std::size_t>(k)] * w[size(j, s.k) + static_cast<std::size_t>(k)];
        }
      }
    }
    return y;
  }

  GemmShape first_, second_;
  DeviceArray<bf16> x_, a_, b_, between_, y_;
  GemmContext context_;
};

class GemmLowRank final : public Component {
 public:
  std::string_view source() const override { return "Hu et al., LoRA, 2021; cuBLASLt"; }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    const auto weights = model_weights(false);
    std::vector<Case> cases;
    for (const std::int64_t rank : {16, 64, 1024, 256, 8, 128, 2048}) {
      for (std::size_t i = 0; i < 8; ++i) {
        for (const std::int64_t m : token_counts(8 + i + static_cast<std::size_t>(rank) / 16, 8192)) {
          if (rank < weights[i].n && rank < weights[i].k) cases.push_back(of(m, weights[i], rank));
        }
      }
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    return {of(1, {24, 40}, 8), of(5, {64, 32}, 16), of(33, {16, 72}, 24)};
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    const bool ours =
        call.cls == &kGemmLowRank && call.dtype == DType::bf16 && call.weight_dtype == DType::bf16;
    if (!ours) return {};
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(call.dims[i]); };
    return {of(dim(0), {dim(1), dim(2)}, dim(3))};
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<LowRankInstance>(c);
  }

 private:
  static Case of(std::int64_t m, WeightShape w, std::int64_t rank) {
    Case c;
    c.call = make_call(kGemmLowRank,
                       {static_cast<double>(m), static_cast<double>(w.n), static_cast<double>(w.k),
                        static_cast<double>(rank)},
                       DType::bf16, DType::bf16);
    c.variant = "cublaslt_pair";
    return c;
  }
};

const GemmLowRank component;

}  // namespace

const Registration<Components> gemm_lowrank_component{"gemm_lowrank",
                                                      "products with a pair of low-rank factors", &component};

}  // namespace orrery::kernels
