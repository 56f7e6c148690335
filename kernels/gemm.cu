#include <random>

#include "component.hpp"
#include "gemm.hpp"
#include "gemm_shapes.hpp"
#include "gemm_small.cuh"
#include "ops/kernel_classes.hpp"
#include "random.hpp"
#include "typed_array.hpp"

// Dense matrix products as engines run them: by cuBLASLt, and of few rows by our own kernels
// (gemm_small.cuh). Large m is bound by the tensor cores (aim, the library's: 60 to 80% of the dense peak
// under the power limit), m below some hundred by reading W.

namespace orrery::kernels {

std::int64_t x_scales(const GemmShape& s) {
  if (s.scaling == GemmScaling::none) return 0;
  if (s.scaling == GemmScaling::tensor) return 1;
  return s.scaling == GemmScaling::row ? s.m : s.m * ceil_div<std::int64_t>(s.k, 128);
}
std::int64_t w_scales(const GemmShape& s) {
  if (s.scaling == GemmScaling::none) return 0;
  if (s.scaling == GemmScaling::tensor) return 1;
  if (s.scaling == GemmScaling::row) return s.n;
  return ceil_div<std::int64_t>(s.n, 128) * ceil_div<std::int64_t>(s.k, 512) * 4;
}

GemmContext::GemmContext() : sm_count_(device_info().sm_count) {}

const LtGemm& GemmContext::plan(const GemmShape& shape) {
  const auto it = plans_.find(shape);
  return it != plans_.end() ? it->second : plans_.emplace(shape, LtGemm(library_, shape)).first->second;
}
void GemmContext::tune(const GemmShape& shape, const GemmOperands& operands) {
  plan(shape);
  plans_.at(shape).tune(operands, nullptr);
}

std::optional<std::string> gemm_unsupported(GemmVariant variant, const GemmShape& s) {
  if (variant != GemmVariant::cublaslt) {
    if (s.format != DType::bf16 && s.format != DType::fp16) return "only bf16 and fp16";
    if (s.m > (variant == GemmVariant::gemv ? 4 : 16)) return "more rows than it is made for";
    if (s.k % 8 != 0) return "k is not a multiple of 8";
    return std::nullopt;
  }
  if (bytes_per_element(s.format) < 2 && (s.k % 16 != 0 || s.n % 16 != 0)) {
    return "8-bit formats need n and k in multiples of 16";
  }
  if (s.scaling == GemmScaling::block128 && s.m % 4 != 0) return "block scales need m in multiples of 4";
  return std::nullopt;
}

GemmVariant gemm_variant(const GemmShape& s) {
  if (s.m <= 2 && !gemm_unsupported(GemmVariant::gemv, s)) return GemmVariant::gemv;
  return gemm_unsupported(GemmVariant::flat, s) ? GemmVariant::cublaslt : GemmVariant::flat;
}

namespace {

template <class T>
void small_gemm(const GemmContext& context, GemmVariant variant, const GemmShape& s, const GemmOperands& o,
                StreamRef stream) {
  SmallGemmArgs<T> args;
  args.x = static_cast<const T*>(o.x), args.w = static_cast<const T*>(o.w), args.y = static_cast<T*>(o.y);
  args.m = static_cast<int>(s.m), args.n = s.n, args.k = static_cast<int>(s.k);
  if (variant == GemmVariant::gemv) return gemv(args, stream);
  const SplitK& memory = context.split_k();
  // Two blocks fit on an SM; a warp should keep some steps of k.
  const auto plan = split_plan(ceil_div<std::int64_t>(s.n, kFlatRows), ceil_div<std::int64_t>(s.k, 32),
                               2 * context.sm_count(), 2 * kFlatWarps, s.m * s.n, memory);
  args.partials = memory.partials, args.counters = memory.counters;
  args.splits = plan.splits, args.steps = plan.steps;
  flat(args, stream);
}

}  // namespace

void gemm(GemmContext& context, GemmVariant variant, const GemmShape& s, const GemmOperands& o,
          StreamRef stream) {
  if (s.m == 0) return;
  if (variant == GemmVariant::cublaslt) return context.plan(s).launch(o, stream);
  if (s.format == DType::fp16) return small_gemm<fp16>(context, variant, s, o, stream);
  small_gemm<bf16>(context, variant, s, o, stream);
}

void gemm(GemmContext& context, const GemmShape& shape, const GemmOperands& operands, StreamRef stream) {
  gemm(context, gemm_variant(shape), shape, operands, stream);
}

namespace {

struct Variant {
  const char* name;
  GemmVariant variant;
  DType format;
  GemmScaling scaling;
};
constexpr Variant kVariants[] = {
    {"cublaslt", GemmVariant::cublaslt, DType::bf16, GemmScaling::none},
    {"gemv", GemmVariant::gemv, DType::bf16, GemmScaling::none},
    {"flat", GemmVariant::flat, DType::bf16, GemmScaling::none},
    {"cublaslt", GemmVariant::cublaslt, DType::fp8, GemmScaling::tensor},
    {"cublaslt_row", GemmVariant::cublaslt, DType::fp8, GemmScaling::row},
    {"cublaslt_block128", GemmVariant::cublaslt, DType::fp8, GemmScaling::block128},
    {"cublaslt", GemmVariant::cublaslt, DType::fp16, GemmScaling::none},
    {"gemv", GemmVariant::gemv, DType::fp16, GemmScaling::none},
    {"flat", GemmVariant::flat, DType::fp16, GemmScaling::none},
    {"cublaslt", GemmVariant::cublaslt, DType::int8, GemmScaling::none},
};
const Variant* find_variant(const Case& c) {
  for (const Variant& v : kVariants) {
    if (v.format == c.call.dtype && c.variant == v.name) return &v;
  }
  return nullptr;
}
const Variant& variant_of(const Case& c) {
  const Variant* const v = find_variant(c);
  if (v == nullptr) throw std::logic_error("no implementation: " + describe(c));
  return *v;
}
GemmShape shape_of(const Case& c) {
  const Variant& v = variant_of(c);
  const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(c.call.dims[i]); };
  return {dim(0), dim(1), dim(2), v.format, v.scaling};
}

std::vector<float> positive(std::int64_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& v : out) v = std::uniform_real_distribution<float>(0.5F, 2.0F)(random);
  return out;
}

class GemmInstance final : public Instance {
 public:
  explicit GemmInstance(const Case& c)
      : shape_(shape_of(c)),
        variant_(variant_of(c).variant),
        x_(TypedArray::random(element_of(shape_.format), shape_.m * shape_.k, c.seed)),
        w_(TypedArray::random(element_of(shape_.format), shape_.n * shape_.k, c.seed + 1)),
        y_(TypedArray::poisoned(output_of(shape_.format), shape_.m * shape_.n)),
        x_scales_(positive(x_scales(shape_), c.seed + 3)),
        w_scales_(positive(w_scales(shape_), c.seed + 4)),
        x_scale_(std::span<const float>(x_scales_)),
        w_scale_(std::span<const float>(w_scales_)) {
    operands_ = {x_.data(), w_.data(), y_.data(), x_scale_.data(), w_scale_.data()};
    if (variant_ == GemmVariant::cublaslt) context_.plan(shape_);
    if (c.option("tuned", 0) != 0) context_.tune(shape_, operands_);
  }

  void launch(StreamRef stream) override { gemm(context_, variant_, shape_, operands_, stream); }

  Check check() override {
    const auto x = x_.doubles(), w = w_.doubles();
    const auto at = [](std::int64_t i) { return static_cast<std::size_t>(i); };
    std::vector<double> reference;
    for (std::int64_t i = 0; i < shape_.m; ++i) {
      for (std::int64_t j = 0; j < shape_.n; ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < shape_.k; ++k) {
          sum += x[at(i * shape_.k + k)] * w[at(j * shape_.k + k)] * scale(i, j, k);
        }
        reference.push_back(sum);
      }
    }
    // Hopper's fp8 units keep 14 bits of a sum (DeepSeek-V3, 2024, section 3.3.2).
    const double tolerance = shape_.format == DType::int8 ? 0 : shape_.format == DType::fp8 ? 1.5e-2 : 8e-3;
    return compare(y_.doubles(), reference, tolerance);
  }

 private:
  double scale(std::int64_t i, std::int64_t j, std::int64_t k) const {
    const auto of = [](const std::vector<float>& scales, std::int64_t at) {
      return static_cast<double>(scales[static_cast<std::size_t>(at)]);
    };
    switch (shape_.scaling) {
      case GemmScaling::tensor:
        return of(x_scales_, 0) * of(w_scales_, 0);
      case GemmScaling::row:
        return of(x_scales_, i) * of(w_scales_, j);
      case GemmScaling::block128:
        return of(x_scales_, k / 128 * shape_.m + i) *
               of(w_scales_, j / 128 * ((shape_.k + 511) / 512 * 4) + k / 128);
      default:
        return 1;
    }
  }

  GemmShape shape_;
  GemmVariant variant_;
  TypedArray x_, w_, y_;
  std::vector<float> x_scales_, w_scales_;
  DeviceArray<float> x_scale_, w_scale_;
  GemmContext context_;
  GemmOperands operands_;
};

/// Cases of one matrix: every m of the ladder by the library, the first ones by the kernels for few rows too.
void add_matrix(std::vector<Case>& cases, std::size_t index, WeightShape w, DType format,
                const char* library) {
  const std::int64_t most = w.n > 60000 ? 512 : 8192;  // logits are computed for the last tokens only
  for (const std::int64_t m : token_counts(index, most)) {
    for (const char* variant : {"gemv", "flat", library}) {
      const Case c = gemm_case(m, w, format, format, variant);
      const Variant* const v = find_variant(c);
      if (v != nullptr && !gemm_unsupported(v->variant, shape_of(c))) cases.push_back(c);
    }
  }
}

/// What the library says against a shape; nullopt = it has a kernel.
std::optional<std::string> refusal(const GemmShape& shape) {
  try {
    // Asked for every case of 8 bits. Never destroyed: at the program's end the driver is gone first.
    static const LtLibrary& library = *new LtLibrary;
    LtGemm(library, shape);
  } catch (const DeviceError& e) {
    if (e.lost || e.out_of_memory) throw;
    return e.what();
  }
  return std::nullopt;
}

class Gemm final : public Component {
 public:
  std::string_view source() const override {
    return "cuBLASLt; flat: Hong et al., FlashDecoding++, 2024, section 4";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    const auto models = model_weights(true), linear = model_weights(false);
    std::vector<Case> cases;
    const auto add = [&](const std::vector<WeightShape>& weights, std::size_t from, std::size_t to,
                         DType format, const char* library) {
      for (std::size_t i = from; i < std::min(to, weights.size()); ++i) {
        add_matrix(cases, i, weights[i], format, library);
      }
    };
    // The first model, one rank of each, then the rest.
    constexpr std::size_t bounds[] = {0, 5, 30, 1000}, some = 15;
    for (std::size_t i = 0; i < 3; ++i) {
      add(models, bounds[i], bounds[i + 1], DType::bf16, "cublaslt");
      add(linear, bounds[i], bounds[i + 1], DType::fp8, "cublaslt");
    }
    add(linear, 0, some, DType::fp8, "cublaslt_block128");
    add(linear, 0, some, DType::int8, "cublaslt");
    add(linear, 0, some, DType::fp8, "cublaslt_row");
    add(linear, 0, some, DType::fp16, "cublaslt");
    const auto filling = filling_weights();
    for (std::size_t i = 0; i < filling.size(); ++i) {
      add_matrix(cases, models.size() + i, filling[i], i % 2 == 0 ? DType::bf16 : DType::fp8, "cublaslt");
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases;
    const auto add = [&](const char* variant, DType format, std::int64_t m, std::int64_t n, std::int64_t k) {
      cases.push_back(gemm_case(m, {n, k}, format, format, variant));
    };
    add("cublaslt", DType::bf16, 5, 24, 40), add("cublaslt", DType::fp16, 3, 16, 72);
    add("cublaslt", DType::fp8, 7, 32, 64), add("cublaslt_row", DType::fp8, 16, 32, 64);
    add("cublaslt_block128", DType::fp8, 16, 256, 256), add("cublaslt_block128", DType::fp8, 12, 144, 272);
    add("cublaslt", DType::int8, 16, 32, 64), add("cublaslt", DType::int8, 5, 16, 48);
    cases.push_back(gemm_case(64, {48, 80}, DType::bf16, DType::bf16, "cublaslt"));
    cases.back().with["tuned"] = 1;
    for (const std::int64_t m : {1, 2, 3, 4}) {
      add("gemv", DType::bf16, m, 9 + m, 1040), add("gemv", DType::fp16, m, 12, 512);
    }
    add("gemv", DType::bf16, 1, 1, 8), add("gemv", DType::bf16, 1, 5, 4104);
    // One below, at and above each tile of m, n and k; k split among blocks and not.
    for (const std::int64_t m : {1, 7, 8, 9, 15, 16})
      add("flat", m % 2 == 0 ? DType::fp16 : DType::bf16, m, 64, 40);
    add("flat", DType::bf16, 8, 63, 256), add("flat", DType::bf16, 9, 65, 264);
    add("flat", DType::bf16, 5, 130, 1112), add("flat", DType::bf16, 16, 64, 2048);
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    if (call.cls != &kGemm && call.cls != &kLmHead) return {};
    std::vector<Case> cases;
    for (const Variant& v : kVariants) {
      Case c;
      c.call = make_call(kGemm, call.dims, call.dtype, call.weight_dtype);
      c.variant = v.name;
      const bool stored_so = call.dtype == v.format && call.weight_dtype == v.format;
      if (stored_so && !gemm_unsupported(v.variant, shape_of(c))) cases.push_back(c);
    }
    return cases;
  }

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    const GemmShape s = shape_of(c);
    if (auto why = gemm_unsupported(variant_of(c).variant, s)) return why;
    if (s.format == DType::fp8 && device.cc_major * 10 + device.cc_minor < 89) {
      return "fp8 needs compute capability 8.9";
    }
    const auto bytes = [](std::int64_t elements, double each) {
      return static_cast<double>(elements) * each;
    };
    const double needed = bytes(s.m * s.k + s.n * s.k, bytes_per_element(s.format)) + bytes(s.m * s.n, 4);
    if (needed > 0.8 * static_cast<double>(device.memory_bytes))
      return "needs more memory than the device has";
    return bytes_per_element(s.format) < 2 && !device.emulated ? refusal(s) : std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override { return std::make_unique<GemmInstance>(c); }
};

const Gemm component;

}  // namespace

const Registration<Components> gemm_component{"gemm", "dense matrix products: cuBLASLt, GEMV and flat GEMM",
                                              &component};

}  // namespace orrery::kernels
