#include "calibration/fit.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/rng.hpp"
#include "calibration/fit_merge.hpp"
#include "calibration/holdout.hpp"
#include "calibration/kernel_calls.hpp"
#include "calibration/least_squares.hpp"
#include "cost/fitted.hpp"
#include "cost/roofline.hpp"
#include "support/temporary_folder.hpp"

using namespace orrery;
using namespace orrery::calibrate;
namespace fs = std::filesystem;

namespace {
double gemm_truth(double m, double n, double k) {
  return 4e-6 + std::max(2 * m * n * k / 6e14, 2 * (n * k + m * k + m * n) / 2.5e12);
}

std::vector<GemmRow> gemm_rows() {
  std::vector<GemmRow> rows;
  for (double m : {1., 2., 4., 8., 16., 32., 64., 128., 256., 512., 1024., 2048., 4096., 8192.}) {
    for (double n : {256., 512., 1024., 2048., 4096., 6144., 8192., 16384., 28672.}) {
      for (double k : {512., 1024., 2048., 4096., 8192., 14336.}) {
        rows.push_back({DType::bf16, m, n, k, gemm_truth(m, n, k)});
      }
    }
  }
  return rows;
}
}  // namespace

TEST_CASE("does a fit find the coefficients its rows were made with?") {
  std::vector<CollectiveRow> rows;
  for (double bytes = 512; bytes < 1e9; bytes *= 2) {
    rows.push_back({"all_reduce_nccl", 4, bytes, 9e-6 + bytes / 230e9});
  }
  const auto fits = fit_collectives(rows);
  REQUIRE(fits.size() == 1);
  CHECK(fits[0].ranks == 4);
  CHECK(fits[0].pieces.front().launch_s == Approx(9e-6).epsilon(0.01));
  CHECK(1 / fits[0].pieces.front().seconds_per_byte == Approx(230e9).epsilon(0.01));
  CHECK(fits[0].seconds(1 << 20) == Approx(9e-6 + (1 << 20) / 230e9).epsilon(0.01));
}

TEST_CASE("does the custom all-reduce keep its jump where the algorithm changes?") {
  std::vector<CollectiveRow> rows;
  for (double bytes = 256; bytes < 8e6; bytes *= 2) {
    const bool one_stage = bytes < 256 * 1024;
    rows.push_back(
        {"all_reduce_custom", 8, bytes, one_stage ? 5e-6 + bytes * 2.4e-11 : 10e-6 + bytes * 5e-12});
  }
  const auto fits = fit_collectives(rows);
  REQUIRE(fits.front().pieces.size() == 2);
  CHECK(fits.front().seconds(256 * 1024 - 1) == Approx(5e-6 + 262143 * 2.4e-11).epsilon(0.02));
  CHECK(fits.front().seconds(256 * 1024) == Approx(10e-6 + 262144 * 5e-12).epsilon(0.02));
}

TEST_CASE("does Levenberg-Marquardt shrug off a spoiled tenth of the rows?") {
  std::vector<double> x, y;
  Rng rng(7, "rows");
  for (int i = 1; i <= 200; ++i) {
    x.push_back(i * 1e4);
    y.push_back((3e-6 + x.back() / 1e12) * (i % 10 == 0 ? 3.0 : std::exp(rng.normal(0, 0.02))));
  }
  const auto c = fit_coefficients(
      [&](const std::vector<double>& p, Eigen::VectorXd& out) {
        for (std::size_t i = 0; i < x.size(); ++i) {
          out[static_cast<Eigen::Index>(i)] = std::log((p[0] + x[i] / p[1]) / y[i]);
        }
      },
      {1e-5, 1e11}, static_cast<Eigen::Index>(x.size()));
  CHECK(c[0] == Approx(3e-6).epsilon(0.03));
  CHECK(c[1] == Approx(1e12).epsilon(0.05));
}

TEST_CASE("does a surface reproduce a multilinear function and stay calm where it has no points?") {
  const auto truth = [](double x, double y) { return 0.1 * x - 0.05 * y + 0.02 * x * y; };
  std::vector<SurfacePoint> points;
  for (double x = 0; x <= 4; x += 0.25) {
    for (double y = 0; y <= 4; y += 0.25) {
      if (x > 1.5 && x < 2.5 && y > 1.5 && y < 2.5) continue;  // a hole around a node
      points.push_back({{x, y}, truth(x, y), 1.0});
    }
  }
  const Surface s = fit_surface({{"x", {0, 1, 2, 3, 4}}, {"y", {0, 1, 2, 3, 4}}}, points, {{0.1, 0.1}, 1e-4});
  for (double x : {0.0, 0.7, 2.0, 3.9}) {
    for (double y : {0.3, 2.0, 4.0}) CHECK(s.at(std::array{x, y}) == Approx(truth(x, y)).margin(0.01));
  }
  CHECK(s.at(std::array{9.0, 9.0}) == s.at(std::array{4.0, 4.0}));  // constant beyond the nodes
}

TEST_CASE("is a GEMM whole shapes away from any row still priced from its neighbours?") {
  DeviceProfile d = load_device("h100-sxm");
  const auto fits = fit_gemms(d, gemm_rows());
  REQUIRE(fits.size() == 1);
  FitFile file;
  file.gemm = fits;
  const FittedModel model(file, d, {}, make_analytic(d, {}));
  for (double m : {3., 48., 700., 3000.}) {
    const GemmRow r{DType::bf16, m, 5120, 3072, 0};
    INFO("m=" << m);
    CHECK(model.price(kernel_call(r)).time.value == Approx(gemm_truth(m, 5120, 3072)).epsilon(0.08));
    CHECK(model.price(kernel_call(r)).provenance == Provenance::interpolated);
  }
}

TEST_CASE("is the split the same in any order, a fifth of the rows and a twelfth of the shapes?") {
  int held_row = 0, held_shape = 0, all = 0;
  for (double n = 128; n <= 12800; n += 128) {
    const Use first = use_of(GemmRow{DType::bf16, 1, n, 4096, 1});
    for (double m = 1; m <= 40; ++m) {
      const Use use = use_of(GemmRow{DType::bf16, m, n, 4096, 1});
      CHECK((use == Use::held_shape) == (first == Use::held_shape));  // a shape is held whole
      held_row += use == Use::held_row;
      held_shape += use == Use::held_shape;
      ++all;
    }
  }
  CHECK(held_row / static_cast<double>(all) == Approx(0.2 * 11 / 12).margin(0.03));
  CHECK(held_shape / static_cast<double>(all) == Approx(1.0 / 12).margin(0.06));
}

TEST_CASE("does a table's message size count elements, and its decode step the tokens before?") {
  const TemporaryFolder t("units");
  const auto nccl =
      t.add("nccl.csv",
            "# source: somewhere; latency in ms\nop_name,nccl_dtype,num_gpus,message_size,latency\n"
            "all_reduce,half,8,1024,0.02\nall_gather,half,8,1024,0.01\nalltoall,half,8,1024,0.01\n");
  const auto decode =
      t.add("decode.csv", "batch_size,num_heads,num_key_value_heads,step,latency\n4,32,8,1023,0.02\n");
  const auto rows = read_kernel_rows({nccl, decode});
  REQUIRE(rows.collectives.size() == 2);
  for (const auto& r : rows.collectives) {
    CHECK(r.bytes == (r.kernel_class == "all_gather" ? 2048 / 8 : 2048));
  }
  REQUIRE(rows.decode.size() == 1);
  CHECK(rows.decode[0].length == 1024);
  CHECK(rows.decode[0].seconds == Approx(20e-6));
  CHECK(decode_call(rows.decode[0]).dims[1] == 4 * 1024);
  REQUIRE(rows.sources.size() == 2);
  CHECK(rows.sources[1].source == "somewhere");
}

TEST_CASE("are launches and fallbacks kept out of the custom all-reduce?") {
  const TemporaryFolder t("custom");
  const auto file =
      t.add("custom.csv",
            "kernel_source,num_gpus,message_size,latency,backend\nvLLM_custom_graph,2,128,0.004,g\n"
            "vLLM_custom_eager,2,128,0.04,e\nvLLM_custom_graph,2,8388608,0.1,g\n");
  const auto rows = read_kernel_rows({file});
  REQUIRE(rows.collectives.size() == 1);
  CHECK(rows.collectives[0].bytes == 256);
}

TEST_CASE("does a spoiled table name its file and line, and a foreign one say that nothing can be fitted?") {
  const TemporaryFolder t("spoiled");
  const auto bad = t.add("bad.csv", "m,n,k,latency\n1,2,3,0.1\n1,2,x,0.1\n");
  try {
    read_kernel_rows({bad});
    FAIL("no error");
  } catch (const ConfigError& e) {
    CHECK(e.line() == 3);
    CHECK(std::string(e.what()).find("'x'") != std::string::npos);
  }
  const auto short_row = t.add("bad.csv", "m,n,k,latency\n1,2\n");
  CHECK_THROWS_AS(read_kernel_rows({short_row}), ConfigError);
  const auto foreign = t.add("bad.csv", "a,b\n1,2\n");
  CHECK_THROWS_AS(fit(load_device("h100-sxm"), read_kernel_rows({foreign})), ConfigError);
}

TEST_CASE("does a borrowed class come scaled by bandwidth and say where from?") {
  const auto from = load_device("h100-sxm"), to = load_device("h200-sxm");
  FitFile lender, borrower;
  lender.device = from.name;
  lender.row_kernels.push_back({"elementwise", 1e-6, 2e12, {}, {1, 10}, ""});
  borrow_missing(borrower, to, lender, from);
  REQUIRE(borrower.row_kernels.size() == 1);
  CHECK(borrower.row_kernels[0].scaled_from == "h100-sxm");
  CHECK(borrower.row_kernels[0].bytes_per_s ==
        Approx(2e12 * to.memory_bandwidth_bytes_per_s / from.memory_bandwidth_bytes_per_s));
  borrow_missing(borrower, to, lender, from);
  CHECK(borrower.row_kernels.size() == 1);  // its own by now
}
