#include <cmath>
#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>

#include "cost/measured.hpp"
#include "cost/roofline.hpp"
#include "ops/elementwise.hpp"
#include "ops/kernel_classes.hpp"
#include "support/temporary_folder.hpp"

using namespace orrery;
namespace fs = std::filesystem;

namespace {
KernelCostModelPtr backing() {
  DeviceProfile d;
  d.name = "d";
  d.tensor_flops_per_s[static_cast<int>(DType::bf16)] = 1e15;
  d.memory_bandwidth_bytes_per_s = 1e12;
  return make_analytic(d, {});
}

KernelCall gemm(double m, double n, double k, DType weight = DType::bf16) {
  KernelCall c;
  c.cls = &kGemm;
  c.dims = {m, n, k};
  c.weight_dtype = weight;
  return c;
}

constexpr const char* kGemmTable =
    "# class: gemm\n# driver 550.54\nm,n,k,dtype,weight_dtype,time_s,clock_mhz\n"
    "16,4096,4096,bf16,bf16,1.0e-05,1755\n16,4096,4096,bf16,bf16,1.2e-05,1755\n16,4096,4096,bf16,bf16,1.1e-"
    "05,1755\n"
    "64,4096,4096,bf16,bf16,4.4e-05,1755\n16,8192,4096,bf16,bf16,2.2e-05,1755\n";
}  // namespace

TEST_CASE("is a shape that was run priced at the median of its runs, and called measured?") {
  const TemporaryFolder t("exact");
  t.add("gemm.csv", kGemmTable);
  const auto model = make_measured(t.path.string(), backing());
  const auto p = model->price(gemm(16, 4096, 4096));
  CHECK(p.time.value == Approx(1.1e-5));
  CHECK(p.provenance == Provenance::measured);
}

TEST_CASE("is a shape between two that were run interpolated in logarithms?") {
  const TemporaryFolder t("between");
  t.add("gemm.csv", kGemmTable);
  const auto model = make_measured(t.path.string(), backing());
  const auto p = model->price(gemm(32, 4096, 4096));  // halfway in log from 16 to 64
  CHECK(p.time.value == Approx(std::sqrt(1.1e-5 * 4.4e-5)));
  CHECK(p.provenance == Provenance::interpolated);
}

TEST_CASE("does anything else fall back?") {
  const TemporaryFolder t("fallback");
  t.add("gemm.csv", kGemmTable);
  const auto model = make_measured(t.path.string(), backing());
  CHECK(model->price(gemm(128, 4096, 4096)).provenance == Provenance::analytic);  // beyond the rows
  CHECK(model->price(gemm(32, 8192, 4096)).provenance == Provenance::analytic);   // two dims differ
  CHECK(model->price(gemm(16, 4096, 4096, DType::fp8)).provenance == Provenance::analytic);  // another format
  KernelCall other;
  other.cls = &kSampling;
  CHECK(model->price(other).provenance == Provenance::analytic);
}

TEST_CASE("does a spoiled table name its file and line?") {
  const TemporaryFolder t("spoiled");
  const auto error_of = [&](const std::string& text) {
    t.add("gemm.csv", text);
    try {
      make_measured(t.path.string(), backing());
    } catch (const ConfigError& e) {
      CHECK(e.file().find("gemm.csv") != std::string::npos);
      return std::string(e.what()) + " @" + std::to_string(e.line());
    }
    return std::string("no error");
  };
  CHECK(error_of("# class: gemm\nm,n,k,dtype,weight_dtype,time_s\n16,4096,4096,bf16,bf16,-1\n").find("@3") !=
        std::string::npos);
  CHECK(error_of("# class: gemm\nm,n,k,dtype,weight_dtype,time_s\n16,x,4096,bf16,bf16,1\n").find("'x'") !=
        std::string::npos);
  CHECK(error_of("# class: gem\nm,n\n").find("unknown kernel class") != std::string::npos);
  CHECK(error_of("# class: gemm\nm,n,k,dtype,time_s\n").find("weight_dtype") != std::string::npos);
  CHECK(error_of("m,n,k,dtype,weight_dtype,time_s\n").find("# class") != std::string::npos);
}

TEST_CASE("is an empty folder no measurement?") {
  const TemporaryFolder t("empty");
  CHECK_FALSE(has_measured_rows(t.path.string()));
  CHECK_FALSE(has_measured_rows((t.path / "absent").string()));
  t.add("gemm.csv", kGemmTable);
  CHECK(has_measured_rows(t.path.string()));
}

TEST_CASE(
    "is a shape with several implementations priced at the median of the fastest, a library's for engines?") {
  const TemporaryFolder t("variants");
  t.add("gemm.csv",
        "# class: gemm\nm,n,k,dtype,weight_dtype,variant,time_s\n"
        "1,4096,4096,bf16,bf16,cublaslt,2.0e-05\n1,4096,4096,bf16,bf16,cublaslt,1.0e-05\n"
        "1,4096,4096,bf16,bf16,cublaslt,2.2e-05\n1,4096,4096,bf16,bf16,gemv,1.5e-05\n"
        "1,4096,4096,bf16,bf16,gemv,1.6e-05\n1,4096,4096,bf16,bf16,gemv,1.7e-05\n");
  t.add("norm.csv",
        "# class: norm\ntokens,bytes_per_token,dtype,weight_dtype,variant,time_s\n"
        "8,4096,bf16,bf16,one,3.0e-06\n8,4096,bf16,bf16,two,2.0e-06\n");
  const auto ours = make_measured(t.path.string(), backing(), {}, Kernels::as_timed);
  CHECK(ours->price(gemm(1, 4096, 4096)).time.value == Approx(1.6e-5));
  const auto engines = make_measured(t.path.string(), backing(), {}, Kernels::of_engines);
  CHECK(engines->price(gemm(1, 4096, 4096)).time.value == Approx(2.0e-5));
  CHECK(engines->price(make_call(kNorm, {8, 4096}, DType::bf16, DType::bf16)).time.value == Approx(2.0e-6));
}

TEST_CASE("are the rows of a dry run refused, whatever else the folder holds?") {
  const TemporaryFolder t("dry");
  t.add("gemm.csv", kGemmTable);
  t.add("lm_head.csv",
        "# class: lm_head\n# dry run: CPU reference\nm,n,k,dtype,weight_dtype,time_s\n"
        "1,64,64,bf16,bf16,1.0\n");
  try {
    make_measured(t.path.string(), backing());
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK(std::string(e.what()).find("dry run") != std::string::npos);
    CHECK(e.file().find("lm_head.csv") != std::string::npos);
  }
}

TEST_CASE("may a dimension be 0, as cached tokens are?") {
  const TemporaryFolder t("zero");
  t.add("gemm.csv", "# class: gemm\nm,n,k,dtype,weight_dtype,time_s\n0,64,64,bf16,bf16,1.0e-06\n");
  const auto model = make_measured(t.path.string(), backing());
  CHECK(model->price(gemm(0, 64, 64)).provenance == Provenance::measured);
  CHECK(model->price(gemm(1, 64, 64)).provenance == Provenance::analytic);
}
