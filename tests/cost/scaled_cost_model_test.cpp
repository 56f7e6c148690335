#include <algorithm>

#include <catch2/catch.hpp>

#include "cost/fitted.hpp"
#include "cost/roofline.hpp"
#include "cost/scaled.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

TEST_CASE("is the device to scale from the nearest fitted one of the vendor?") {
  CHECK(nearest_fitted(load_device("h100-sxm"))->name == "h200-sxm");
  CHECK(nearest_fitted(load_device("a100-pcie-80g"))->name == "a100-sxm-80g");
  CHECK_FALSE(nearest_fitted(load_device("mi300x")));
}

TEST_CASE("does a fit scaled to its own device stay as it is?") {
  const auto device = load_device("h100-sxm");
  const auto fit = FitFile::load(device.folder + "/fit.json");
  const FittedModel plain(fit, device, {}, make_analytic(device, {}));
  const ScaledModel scaled(device, device, {});
  for (const double m : {1., 64., 4096.}) {
    const auto call = make_call(kGemm, {m, 4096, 4096}, DType::bf16, DType::bf16);
    CHECK(scaled.price(call).time.value == Approx(plain.price(call).time.value));
    CHECK(plain.price(call).provenance == Provenance::interpolated);
    CHECK(scaled.price(call).provenance == Provenance::extrapolated);
  }
}

TEST_CASE("does a better datasheet make kernels faster, and by no more than it promises? Latencies stay.") {
  const auto from = load_device("h100-sxm");
  DeviceProfile to = from;
  to.name = "twice";
  for (double& peak : to.tensor_flops_per_s) peak *= 2;
  to.memory_bandwidth_bytes_per_s *= 3;
  const ScaledModel one(from, from, {}), two(from, to, {});
  const auto ratio = [&](const KernelCall& c) { return one.price(c).time.value / two.price(c).time.value; };
  const double gemm = ratio(make_call(kGemm, {8192, 8192, 8192}, DType::bf16, DType::bf16));
  CHECK(gemm > 1.4);
  CHECK(gemm < 2.01);
  const double decode =
      ratio(make_call(kAttentionDecode, {64, 64 * 16384., 32, 8, 128}, DType::bf16, DType::bf16));
  CHECK(decode > 1.4);
  CHECK(decode < 3.01);
}

TEST_CASE("are the error bars of a scaled device those observed on transfers, wider than a fit's own?") {
  const auto from = load_device("h200-sxm"), to = load_device("h100-pcie");
  const auto fit = FitFile::load(from.folder + "/fit.json");
  const FittedModel fitted(fit, from, {}, make_analytic(from, {}));
  const ScaledModel scaled(from, to, {});
  for (const KernelClass* cls : {&kGemm, &kAttentionDecode, &kAttentionPrefill}) {
    INFO(cls->name);
    const double sigma = scaled.error(*cls, Provenance::extrapolated).log_sigma;
    CHECK(sigma > fitted.error(*cls, Provenance::interpolated).log_sigma);
    double widest = 0;
    for (const auto& t : load_transfer_errors()) {
      if (t.same_architecture) widest = std::max(widest, t.errors.at(std::string(cls->name)).log_sigma);
    }
    CHECK(sigma == Approx(widest));
  }
}

TEST_CASE("does a scaled model leave out what the device cannot do?") {
  const auto from = load_device("h200-sxm");
  const auto pcie = load_device("l40s"), ampere = load_device("a40");
  const auto fit = FitFile::load(from.folder + "/fit.json");
  CHECK(scaled_fit(fit, from, pcie).collectives.empty());
  for (const auto& g : scaled_fit(fit, from, ampere).gemm) CHECK(g.dtype != DType::fp8);
  const ScaledModel model(from, pcie, topology_for(pcie));
  const auto reduce = make_call(kAllReduceNccl, {2, 1 << 20}, DType::bf16, DType::bf16);
  CHECK(model.price(reduce).provenance == Provenance::analytic);
}

TEST_CASE("does a 4-bit product on matrix units that have the format run faster than an 8-bit one?") {
  // B200's datasheet: twice the operations in fp4 and half the bytes; a product this large is bound by
  // neither launches nor waves.
  const auto b200 = load_device("b200");
  const auto model = make_unmeasured(b200, {});
  const auto seconds = [&](DType t) {
    return model->price(make_call(kGemm, {8192, 16384, 8192}, t, t)).time.value;
  };
  CHECK(seconds(DType::fp8) / seconds(DType::fp4) > 1.5);
  CHECK(seconds(DType::fp8) / seconds(DType::fp4) < 2.05);
}
