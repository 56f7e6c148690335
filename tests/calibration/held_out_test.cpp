#include <algorithm>
#include <cmath>

#include <catch2/catch.hpp>

#include "calibration/holdout.hpp"
#include "calibration/kernel_calls.hpp"
#include "cost/fitted.hpp"
#include "cost/roofline.hpp"
#include "support/reference_data.hpp"

using namespace orrery;
using namespace orrery::calibrate;

namespace {
struct Table {
  const char *device, *gemm, *prefill, *decode;
};
constexpr Table kTables[] = {
    {"a100-sxm-80g", "a100_sxm_gemm_vllm0.14.0.csv", "a100_sxm_attn_prefill_vllm0.14.0.csv",
     "a100_sxm_attn_decode_vllm0.14.0.csv"},
    {"h100-sxm", "h100_sxm_gemm_vllm0.24.0.csv", "h100_sxm_attn_prefill_vllm0.24.0.csv",
     "h100_sxm_attn_decode_vllm0.24.0.csv"},
    {"h200-sxm", "h200_sxm_gemm_vllm0.24.0.csv", "h200_sxm_attn_prefill_vllm0.24.0.csv",
     "h200_sxm_attn_decode_vllm0.24.0.csv"},
};

/// log(predicted / measured) of held-out rows, as the shipped fit prices them.
struct Residuals {
  std::vector<double> gemm_bf16, gemm_fp8, prefill, decode;
};

double quantile_abs(std::vector<double> v, double p) {
  for (double& x : v) x = std::abs(std::expm1(x));
  std::sort(v.begin(), v.end());
  return v[static_cast<std::size_t>(p * static_cast<double>(v.size() - 1))];
}

Residuals residuals_of(const Table& t, const std::string& reference, const FittedModel& model) {
  const std::string folder = reference + "/kernels/";
  const auto rows = read_kernel_rows({folder + t.gemm, folder + t.prefill, folder + t.decode});
  const auto log_ratio = [&](const KernelCall& c, double s) {
    return std::log(model.price(c).time.value / s);
  };
  Residuals out;
  for (const auto& r : rows.gemm) {
    if (r.n < 1024 || r.k < 1024 || use_of(r) == Use::fit) continue;
    (r.dtype == DType::fp8 ? out.gemm_fp8 : out.gemm_bf16).push_back(log_ratio(kernel_call(r), r.seconds));
  }
  for (const auto& r : rows.prefill) {
    if (r.window > 0 || r.length < 1024 || use_of(r, false) == Use::fit) continue;
    out.prefill.push_back(log_ratio(prefill_call(r), r.seconds));
  }
  for (const auto& r : rows.decode) {
    if (r.window > 0 || use_of(r, true) == Use::fit) continue;
    if (4 * r.batch * r.length * r.kv_heads * r.head_dim >= 64e6) {
      out.decode.push_back(log_ratio(decode_call(r), r.seconds));
    }
  }
  return out;
}

FittedModel shipped(const std::string& name) {
  const auto device = load_device(name);
  return {FitFile::load(device.folder + "/fit.json"), device, {}, make_analytic(device, {})};
}

/// The share of rows within the interval that the class's error promises 80% for.
double covered(const std::vector<double>& residuals, const ClassError& e) {
  const double half = 1.2816 * e.log_sigma;
  const auto inside =
      std::count_if(residuals.begin(), residuals.end(), [&](double r) { return std::abs(r) <= half; });
  return static_cast<double>(inside) / static_cast<double>(residuals.size());
}
}  // namespace

TEST_CASE("do the shipped fits meet their targets on rows and shapes they have never seen?") {
  REQUIRE_REFERENCE_DATA(reference);
  for (const auto& t : kTables) {
    const auto model = shipped(t.device);
    const auto r = residuals_of(t, reference, model);
    INFO(t.device);
    CHECK(quantile_abs(r.gemm_bf16, 0.5) <= 0.06);
    CHECK(quantile_abs(r.gemm_bf16, 0.9) <= 0.16);
    CHECK(quantile_abs(r.prefill, 0.5) <= 0.08);
    CHECK(quantile_abs(r.prefill, 0.9) <= 0.26);
    CHECK(quantile_abs(r.decode, 0.5) <= 0.05);
    CHECK(quantile_abs(r.decode, 0.9) <= 0.16);
    if (r.gemm_fp8.empty()) continue;
    CHECK(quantile_abs(r.gemm_fp8, 0.5) <= 0.06);
    CHECK(quantile_abs(r.gemm_fp8, 0.9) <= 0.17);
  }
}

TEST_CASE("does an 80% interval of a class cover held-out rows about that often?") {
  REQUIRE_REFERENCE_DATA(reference);
  for (const auto& t : kTables) {
    const auto model = shipped(t.device);
    const auto r = residuals_of(t, reference, model);
    const auto error = [&](const KernelCall& c) { return model.error(*c.cls, Provenance::interpolated); };
    INFO(t.device);
    const double gemm = covered(r.gemm_bf16, error(kernel_call(GemmRow{DType::bf16, 1, 1024, 1024, 1})));
    const double prefill = covered(r.prefill, error(prefill_call({1, 1024, 32, 8, 128, 0, 1})));
    const double decode = covered(r.decode, error(decode_call({1, 1024, 32, 8, 128, 0, 1})));
    for (const double share : {gemm, prefill, decode}) {
      CHECK(share >= 0.75);
      CHECK(share <= 0.95);  // tails are heavier than normal: the middle is covered more often than promised
    }
  }
}
