#include <catch2/catch.hpp>

#include "cost/roofline.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {
DeviceProfile device() {
  DeviceProfile d;
  d.name = "round";
  d.tensor_flops_per_s[static_cast<int>(DType::bf16)] = 1e15;
  d.vector_flops_per_s = 5e13;
  d.memory_bandwidth_bytes_per_s = 2e12;
  d.nvlink_bytes_per_s = 4e11;
  d.pcie_bytes_per_s = 5e10;
  d.sm_count = 100;
  return d;
}

Topology node() {
  Topology t;
  t.gpus_per_node = 8;
  t.gpu_link_bytes_per_s = 4e11;
  t.nic_bytes_per_s = 5e10;
  return t;
}

KernelCall matrix(double flops, double bytes, DType dtype = DType::bf16) {
  KernelCall c;
  c.cls = &kGemm;
  c.dims = {1, 1, 1};
  c.work.tensor_flops = flops;
  c.work.tensor_dtype = dtype;
  c.work.hbm_read_bytes = bytes;
  return c;
}

KernelCall all_reduce(double ranks, double bytes) {
  KernelCall c;
  c.cls = &kAllReduceNccl;
  c.dims = {ranks, bytes};
  c.work.link_bytes = 2 * (ranks - 1) / ranks * bytes;
  return c;
}
}  // namespace

TEST_CASE("is the speed of light the larger of arithmetic and traffic, with nothing hidden?") {
  const auto light = make_speed_of_light(device(), node());
  CHECK(light->price(matrix(1e12, 0)).time.value == Approx(1e-3));        // 1e12 / 1e15
  CHECK(light->price(matrix(0, 2e9)).time.value == Approx(1e-3));         // 2e9 / 2e12
  CHECK(light->price(matrix(1e12, 4e9)).time.value == Approx(2e-3));      // the larger of 1 and 2 ms
  CHECK(light->price(all_reduce(8, 4e8)).time.value == Approx(1.75e-3));  // 2 * 7/8 * 4e8 / 4e11
  CHECK(light->price(matrix(1, 1)).provenance == Provenance::analytic);
}

TEST_CASE(
    "is the analytic model never faster than the speed of light, and at most a few times slower on large "
    "work?") {
  const auto light = make_speed_of_light(device(), node()), usual = make_analytic(device(), node());
  for (double scale : {1e6, 1e9, 1e12}) {
    const auto call = matrix(scale, scale / 100);
    CHECK(usual->price(call).time.value > light->price(call).time.value);
  }
  CHECK(usual->price(matrix(1e12, 1e9)).time.value < 1.5 * light->price(matrix(1e12, 1e9)).time.value);
}

TEST_CASE("does a format the matrix units lack run at the bf16 rate?") {
  const auto light = make_speed_of_light(device(), node());
  CHECK(light->price(matrix(1e12, 0, DType::fp8)).time.value == Approx(1e-3));
}

TEST_CASE("do ranks beyond the node cross the network card?") {
  const auto usual = make_analytic(device(), node());
  const double inside = usual->price(all_reduce(8, 1e9)).time.value;
  const double across = usual->price(all_reduce(16, 1e9)).time.value;
  CHECK(across > 7 * inside);  // 4e11 against 5e10 bytes/s
}

TEST_CASE("does a small collective cost latency that grows with the ranks?") {
  const auto usual = make_analytic(device(), node());
  const double two = usual->price(all_reduce(2, 256)).time.value,
               eight = usual->price(all_reduce(8, 256)).time.value;
  CHECK(two > 1e-6);
  CHECK(eight > two);
  CHECK(eight < 50e-6);
}
