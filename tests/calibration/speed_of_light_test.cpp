#include "calibration/speed_of_light.hpp"

#include <catch2/catch.hpp>

#include "ops/copies.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

TEST_CASE("does a kernel that takes twice its time at peak rates run at half the speed of light?") {
  DeviceProfile d;
  d.name = "d";
  d.tensor_flops_per_s[static_cast<int>(DType::bf16)] = 1e15;
  d.memory_bandwidth_bytes_per_s = 1e12;
  MeasuredTable gemm;
  gemm.cls = &kGemm;
  const auto row = [](double m, double seconds, const char* variant) {
    MeasuredRow r;
    r.dims = {m, 4096, 4096}, r.seconds = seconds, r.variant = variant;
    return r;
  };
  // 4096 rows: 2 * 4096^3 FLOP at 1e15/s. One row: the weights alone, 2 * 4096^2 B, and 16 KiB, at 1e12 B/s.
  const double large = 2 * 4096.0 * 4096 * 4096 / 1e15, small = (2 * 4096.0 * 4096 + 16384) / 1e12;
  gemm.rows = {row(4096, 2 * large, "cublaslt"), row(1, 4 * small, "cublaslt"), row(1, small, "gemv")};
  MeasuredTable launches;
  launches.cls = &kLaunchHost;
  launches.rows = {row(10, 1e-6, "own_clock")};
  const auto out = calibrate::fractions_of_light({gemm, launches}, d, {});
  REQUIRE(out.size() == 2);  // nothing bounds a launch
  CHECK(out[0].variant == "cublaslt");
  CHECK(out[0].rows == 2);
  CHECK(out[0].at_large == Approx(0.5));
  CHECK(out[0].best == Approx(0.5));
  CHECK(out[1].variant == "gemv");
  CHECK(out[1].at_large == Approx(1.0));
}
