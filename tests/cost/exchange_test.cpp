#include <catch2/catch.hpp>

#include "cost/roofline.hpp"
#include "ops/expert_exchange.hpp"

using namespace orrery;

namespace {
/// H800 nodes of 8 (NVLink of 160 GB/s that is reached) with a 400 Gb/s network card per GPU.
struct Cluster {
  Cluster() {
    device.name = "h800";
    device.memory_bandwidth_bytes_per_s = 3.35e12, device.vector_flops_per_s = 6e13;
    node.gpus_per_node = 8, node.gpu_link_bytes_per_s = 2e11, node.nic_bytes_per_s = 5e10;
  }
  double seconds(const KernelClass& cls, const KernelClass::Dims& dims, DType format) const {
    return make_analytic(device, node)->price(make_call(cls, dims, format, format)).time.value;
  }
  DeviceProfile device;
  Topology node;
};
}  // namespace

TEST_CASE("does an unmeasured exchange of experts' rows take what DeepEP published?", "[cost]") {
  // 128 tokens, hidden 7168, top 8 of 256 experts, fp8 out and bf16 back, microseconds (DeepEP, documentation
  // of version 1, low-latency kernels, 2025). Our figures are a datasheet's bandwidth and round efficiencies.
  struct Row {
    double ranks, dispatch, combine;
  };
  const Cluster cluster;
  for (const auto& row :
       {Row{16, 118, 195}, {32, 155, 273}, {64, 173, 314}, {128, 192, 369}, {256, 194, 360}}) {
    const KernelClass::Dims dims{128, 8, 7168, 256, row.ranks};
    INFO(row.ranks << " ranks");
    CHECK(cluster.seconds(kMoeDispatchLowLatency, dims, DType::fp8) ==
          Approx(row.dispatch * 1e-6).epsilon(0.2));
    CHECK(cluster.seconds(kMoeCombineLowLatency, dims, DType::bf16) ==
          Approx(row.combine * 1e-6).epsilon(0.2));
  }
}

TEST_CASE("does an exchange within a node use its links, and beyond it the network for what leaves?",
          "[cost]") {
  const Cluster cluster;
  const auto seconds = [&](double tokens, double ranks) {
    return cluster.seconds(kMoeDispatchLowLatency, {tokens, 8, 7168, 256, ranks}, DType::bf16);
  };
  // Large payloads: bytes over bandwidth at the assumed 75%.
  const double bytes = 1e5 * 8 * 7168 * 2;
  CHECK(seconds(1e5, 8) == Approx(bytes * 7 / 8 / (2e11 * 0.75)).epsilon(0.01));
  CHECK(seconds(1e5, 16) == Approx(bytes * 8 / 16 / (5e10 * 0.75)).epsilon(0.01));
  CHECK(seconds(1e5, 64) == Approx(bytes * 56 / 64 / (5e10 * 0.75)).epsilon(0.01));
  // Small ones: latency that does not grow with the ranks.
  CHECK(seconds(1, 64) < 2 * seconds(1, 16));
}
