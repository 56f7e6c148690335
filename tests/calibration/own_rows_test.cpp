#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "base/error.hpp"
#include "calibration/engine_factor.hpp"
#include "calibration/fit.hpp"
#include "calibration/fit_merge.hpp"
#include "calibration/holdout.hpp"
#include "calibration/kernel_calls.hpp"
#include "cost/fitted.hpp"
#include "cost/roofline.hpp"
#include "ops/kernel_classes.hpp"
#include "support/temporary_folder.hpp"

using namespace orrery;
using namespace orrery::calibrate;
namespace fs = std::filesystem;

namespace {
struct Tables : TemporaryFolder {
  using TemporaryFolder::TemporaryFolder;
  KernelRows read() const { return read_kernel_rows({path.string()}); }
};

DeviceProfile device() {
  DeviceProfile d;
  d.name = "d", d.vendor = "v", d.sm_count = 100;
  d.tensor_flops_per_s[static_cast<int>(DType::bf16)] = 1e15;
  d.vector_flops_per_s = 6e13;
  d.memory_bandwidth_bytes_per_s = 3e12;
  d.pcie_bytes_per_s = 5e10;
  return d;
}

FittedModel model_of(const FitFile& fit) {
  return {fit, device(), {}, make_analytic(device(), {})};
}

/// 4 us and 2.5e12 bytes/s, and a kernel that serves vocabularies above 64 Ki a fifth slower.
double sampling_truth(const KernelCall& c) {
  return (4e-6 + c.work.hbm_bytes() / 2.5e12) * (c.dims[1] > 65536 ? 1.2 : 1.0);
}

KernelCall sampling(double rows, double vocab) {
  return make_call(kSampling, {rows, vocab}, DType::fp32, DType::fp32);
}

std::string sampling_table() {
  std::string text =
      "# class: sampling\n# driver 580.1, clocks locked at 1755 MHz\nrows,vocab,dtype,weight_dtype,time_s\n";
  for (double rows : {1., 2., 4., 8., 16., 32., 64., 128., 256., 512.}) {
    for (double vocab : {32000., 50304., 128256., 151936., 256000.}) {
      text += fmt::format("{},{},fp32,fp32,{:.6e}\n", rows, vocab, sampling_truth(sampling(rows, vocab)));
    }
  }
  return text;
}

std::string gemm_table(const char* formats, const std::function<double(double, double, double)>& truth) {
  std::string text = "# class: gemm\n# driver 580.1\nm,n,k,dtype,weight_dtype,time_s\n";
  for (double m : {1., 4., 16., 64., 256., 1024., 4096.}) {
    for (double n : {1024., 2048., 4096., 6144., 8192., 28672.}) {
      for (double k : {1024., 4096., 8192., 14336.})
        text += fmt::format("{},{},{},{},{:.6e}\n", m, n, k, formats, truth(m, n, k));
    }
  }
  return text;
}
}  // namespace

TEST_CASE("is a class without a form of its own fitted from its Work and the dimensions that matter?") {
  const Tables t("generic");
  t.add("sampling.csv", sampling_table());
  const FitFile fitted = fit(device(), t.read());
  REQUIRE(fitted.generic.size() == 1);
  CHECK(fitted.generic[0].form.c[GenericForm::tensor] == 0);  // it does none
  const auto model = model_of(fitted);
  for (const double vocab : {32000., 128256., 256000.}) {
    for (const double rows : {3., 24., 200.}) {
      const auto p = model.price(sampling(rows, vocab));
      CHECK(p.time.value == Approx(sampling_truth(sampling(rows, vocab))).epsilon(0.05));
      CHECK(p.provenance == Provenance::interpolated);
    }
  }
  CHECK(model.price(sampling(2048, 128256)).provenance == Provenance::extrapolated);
  REQUIRE(!fitted.held_out.empty());
  CHECK(fitted.held_out[0].kernel_class == "sampling");
  CHECK(fitted.held_out[0].target_median == Approx(0.05));
  CHECK(fitted.held_out[0].median_abs < 0.05);
}

TEST_CASE("does a generic fit survive being written and read?") {
  const Tables t("roundtrip");
  t.add("sampling.csv", sampling_table());
  const FitFile fitted = fit(device(), t.read());
  const auto again = FitFile::load(t.add("fit.json", fitted.to_json()));
  const auto call = sampling(24, 128256);
  CHECK(model_of(again).price(call).time.value ==
        Approx(model_of(fitted).price(call).time.value).epsilon(0.002));
  CHECK(again.sources[0].own);
  CHECK(again.sources[0].source == "driver 580.1, clocks locked at 1755 MHz");
  CHECK(again.sources[0].classes == std::vector<std::string>{"sampling"});
  CHECK(again.to_json() == fitted.to_json());
}

TEST_CASE("are GEMMs with narrow weights fitted apart from those without?") {
  const Tables t("w4a16");
  const auto truth = [](double bytes) {
    return [bytes](double m, double n, double k) {
      return 4e-6 + std::max(2 * m * n * k / 6e14, (bytes * n * k + 2 * m * k + 2 * m * n) / 2.5e12);
    };
  };
  t.add("bf16.csv", gemm_table("bf16,bf16", truth(2)));
  t.add("int4.csv", gemm_table("bf16,int4", truth(0.5)));
  const FitFile fitted = fit(device(), t.read());
  CHECK(fitted.gemm.size() == 2);
  const auto model = model_of(fitted);
  const auto wide = model.price(make_call(kGemm, {8, 5120, 4096}, DType::bf16, DType::bf16));
  const auto narrow = model.price(make_call(kGemm, {8, 5120, 4096}, DType::bf16, DType::int4));
  CHECK(wide.time.value == Approx(truth(2)(8, 5120, 4096)).epsilon(0.08));
  CHECK(narrow.time.value == Approx(truth(0.5)(8, 5120, 4096)).epsilon(0.08));
  CHECK(narrow.provenance == Provenance::interpolated);
}

TEST_CASE("do our own rows replace published ones of the same class and formats, and no others?") {
  const Tables t("both");
  const auto ours = [](double m, double n, double k) { return 1e-5 + 2 * m * n * k / 5e14 + n * k / 1e12; };
  std::string theirs = "# source: somebody's table\nm,n,k,gemm_dtype,latency\n";
  for (double m = 1; m <= 4096; m *= 4) {
    for (double n = 1024; n <= 16384; n *= 2) {
      for (double k = 1024; k <= 16384; k *= 2) {
        theirs += fmt::format("{},{},{},bfloat16,{}\n{},{},{},fp8,{}\n", m, n, k, 3e3 * ours(m, n, k), m, n,
                              k, 2e3 * ours(m, n, k));
      }
    }
  }
  t.add("a_published.csv", theirs);
  t.add("gemm.csv", gemm_table("bf16,bf16", ours));
  const auto rows = t.read();
  REQUIRE(rows.sources.size() == 2);
  CHECK(rows.sources[0].own);
  CHECK(rows.sources[1].rows == 175);  // the fp8 half of the published table
  for (const auto& r : rows.gemm) CHECK(r.own == (r.dtype == DType::bf16));
}

TEST_CASE("does a fit of new rows keep what only the earlier one knew?") {
  const Tables before("before"), after("after");
  const auto slow = [](double m, double n, double k) { return 2e-5 + 2 * m * n * k / 2e14; };
  const auto quick = [](double m, double n, double k) { return 1e-5 + 2 * m * n * k / 5e14; };
  before.add("gemm.csv", gemm_table("bf16,bf16", slow));
  before.add("sampling.csv", sampling_table());
  after.add("gemm_new.csv", gemm_table("bf16,bf16", quick));
  FitFile fitted = fit(device(), after.read());
  keep_missing(fitted, fit(device(), before.read()));
  REQUIRE(fitted.gemm.size() == 1);
  const auto model = model_of(fitted);
  CHECK(model.price(make_call(kGemm, {64, 4096, 4096}, DType::bf16, DType::bf16)).time.value ==
        Approx(quick(64, 4096, 4096)).epsilon(0.08));
  CHECK(model.price(sampling(16, 128256)).provenance == Provenance::interpolated);
  REQUIRE(fitted.sources.size() == 2);
  CHECK(fitted.sources[1].file == "sampling.csv");
  CHECK(fitted.errors.contains("sampling"));
}

TEST_CASE(
    "where our kernel is slower than an engine's, is an engine's time predicted, and ours on request?") {
  const Tables own("slow"), published("engine");
  const auto ours = [](double m, double n, double k) {
    return 1.25 * (5e-6 + 2 * m * n * k / 5e14 + n * k / 1e12);
  };
  own.add("gemm.csv", gemm_table("bf16,bf16", ours));
  std::string theirs = "# source: an engine's table\nm,n,k,gemm_dtype,latency\n";
  for (double m = 1; m <= 4096; m *= 2) {
    for (double n = 1024; n <= 16384; n *= 4) {
      for (double k = 1024; k <= 8192; k *= 2)
        theirs += fmt::format("{},{},{},bfloat16,{:.6e}\n", m, n, k, 1e3 * ours(m, n, k) / 1.25);
    }
  }
  const std::string table = published.add("published.csv", theirs);
  FitFile fitted = fit(device(), own.read());
  fitted.engine_kernel_factor = engine_factors(device(), fitted, read_kernel_rows({table}));
  REQUIRE(fitted.engine_kernel_factor.contains("gemm"));
  const auto& f = fitted.engine_kernel_factor.at("gemm");
  CHECK(f.factor == Approx(0.8).epsilon(0.03));
  CHECK(f.source == "published.csv: an engine's table");
  CHECK(f.p10 <= f.factor);
  CHECK(f.factor <= f.p90);
  const auto again = FitFile::load(own.add("fit.json", fitted.to_json()));
  const auto call = make_call(kGemm, {256, 4096, 4096}, DType::bf16, DType::bf16);
  const FittedModel engines = model_of(again);
  const FittedModel raw(again, device(), {}, make_analytic(device(), {}), Kernels::as_timed);
  CHECK(engines.price(call).time.value == Approx(f.factor * raw.price(call).time.value).epsilon(1e-4));
  CHECK(raw.price(call).time.value == Approx(ours(256, 4096, 4096)).epsilon(0.15));
  const auto head = make_call(kLmHead, {256, 4096, 4096}, DType::bf16, DType::bf16);
  CHECK(engines.price(head).time.value == Approx(engines.price(call).time.value));
}

TEST_CASE("is an engine's fp8 GEMM charged for quantising its input, which ours was not timed with?") {
  const Tables t("fp8");
  t.add("gemm.csv", gemm_table("fp8,fp8", [](double m, double n, double k) {
          return 5e-6 + 2 * m * n * k / 9e14 + n * k / 2e12;
        }));
  const FitFile fitted = fit(device(), t.read());
  const auto call = make_call(kGemm, {1024, 4096, 4096}, DType::fp8, DType::fp8);
  const FittedModel raw(fitted, device(), {}, make_analytic(device(), {}), Kernels::as_timed);
  const double quantisation = raw.price(input_quantisation(call)).time.value;
  CHECK(quantisation > 0);
  CHECK(model_of(fitted).price(call).time.value == Approx(raw.price(call).time.value + quantisation));
}

TEST_CASE("are joules per FLOP and per byte found from the power of rows?") {
  constexpr double kIdleW = 90, kFlop = 4e-13, kByte = 1.5e-11;
  const Tables t("energy");
  std::string text = "# class: gemm\nm,n,k,dtype,weight_dtype,time_s,power_w,dram_bytes\n";
  for (double m : {1., 16., 256., 4096.}) {
    for (double n : {1024., 4096., 8192.}) {
      for (double k : {1024., 2048., 8192., 14336.}) {
        const Work w = make_call(kGemm, {m, n, k}, DType::bf16, DType::bf16).work;
        const double seconds = 5e-6 + w.tensor_flops / 5e14 + w.hbm_bytes() / 2e12,
                     dram = 1.1 * w.hbm_bytes();
        const double watts = kIdleW + (kFlop * w.tensor_flops + kByte * dram) / seconds;
        text += fmt::format("{},{},{},bf16,bf16,{:.9e},{:.6f},{:.6e}\n", m, n, k, seconds, watts, dram);
      }
    }
  }
  t.add("gemm.csv", text);
  const auto energy = t.read().energy;
  REQUIRE(energy);
  CHECK(energy->rows == 48);
  CHECK(energy->idle_w == Approx(kIdleW).epsilon(0.01));
  CHECK(energy->tensor_j_per_flop[static_cast<int>(DType::bf16)] == Approx(kFlop).epsilon(0.01));
  CHECK(energy->dram_j_per_byte == Approx(kByte).epsilon(0.01));
  CHECK(energy->tensor_j_per_flop[static_cast<int>(DType::fp8)] == 0);
  CHECK(energy->p90_abs < 0.01);
}

TEST_CASE("are rows too few to fit left to the measured model, saying so?") {
  const Tables t("few");
  t.add("sampling.csv",
        "# class: sampling\nrows,vocab,dtype,weight_dtype,time_s\n1,32000,fp32,fp32,1e-5\n"
        "2,32000,fp32,fp32,1e-5\n");
  const auto rows = t.read();
  CHECK(rows.sources.empty());
  REQUIRE(rows.notes.size() == 1);
  CHECK(rows.notes[0].find("sampling fp32/fp32: 2 measured shapes") == 0);
  CHECK_THROWS_AS(fit(device(), rows), ConfigError);
}

TEST_CASE("are prompts with cached tokens before them, once measured, no longer a guess?") {
  const Tables t("cached");
  std::string text =
      "# class: attention_prefill\nseqs,new_tokens,pairs,kv_tokens,max_kv,heads,kv_heads,head_dim,dtype,"
      "weight_dtype,time_s\n";
  const auto dims = [](double seqs, double length, double past) -> KernelClass::Dims {
    const double pairs = seqs * (length * past + length * (length + 1) / 2);
    return {seqs, seqs * length, pairs, seqs * (past + length), past + length, 32, 8, 128};
  };
  const auto truth = [](const KernelClass::Dims& d) { return 8e-6 + 4 * d[2] * d[5] * d[7] / 4e14; };
  for (const double seqs : {1., 2., 4., 8.}) {
    for (const double length : {128., 512., 1024., 2048., 4096.}) {
      for (const double past : {0., 1024., 4096., 8192., 16384.}) {
        const auto d = dims(seqs, length, past);
        for (const double x : d) text += fmt::format("{:.0f},", x);
        text += fmt::format("bf16,bf16,{:.6e}\n", truth(d));
      }
    }
  }
  t.add("prefill.csv", text);
  const FitFile fitted = fit(device(), t.read());
  REQUIRE(fitted.prefill.size() == 1);
  CHECK(fitted.prefill[0].cached_tokens);
  const auto d = dims(2, 1024, 2048);
  const auto p = model_of(fitted).price(make_call(kAttentionPrefill, d, DType::bf16, DType::bf16));
  CHECK(p.provenance == Provenance::interpolated);
  CHECK(p.time.value == Approx(truth(d)).epsilon(0.15));
}

TEST_CASE("is a dry run refused as something to fit?") {
  const Tables t("dry");
  t.add("sampling.csv",
        "# class: sampling\n# dry run\nrows,vocab,dtype,weight_dtype,time_s\n1,1,fp32,fp32,1\n");
  CHECK_THROWS_WITH(t.read(), Catch::Contains("dry run"));
}
