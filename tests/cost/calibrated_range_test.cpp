#include <catch2/catch.hpp>

#include "cost/fitted.hpp"
#include "cost/roofline.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;

namespace {

DeviceProfile device() {
  DeviceProfile d;
  d.name = "d";
  d.tensor_flops_per_s[static_cast<int>(DType::bf16)] = 1e15;
  d.memory_bandwidth_bytes_per_s = 1e12;
  return d;
}

FittedModel model(FitFile fit) {
  return FittedModel(std::move(fit), device(), {}, make_analytic(device(), {}));
}

KernelCall call(const KernelClass& cls, const KernelClass::Dims& dims, DType dtype = DType::bf16) {
  return make_call(cls, dims, dtype, dtype);
}

FitFile with_attention() {
  FitFile fit;
  DecodeFit decode;
  for (const double head_dim : {64.0, 128.0}) {
    AttentionSurface s;
    s.head_dim = head_dim;
    s.x = {1, head_dim}, s.y = {2, 1000}, s.group = {1, 8};
    decode.surfaces.push_back(s);
  }
  fit.decode.push_back(decode);
  return fit;
}

GenericFit sampling_fit() {
  GenericFit g;
  g.kernel_class = std::string(kSampling.name);
  g.dtype = g.weight_dtype = DType::fp32;
  g.ranges = {{1, 256}, {32000, 256000}};
  g.bind(kSampling);
  return g;
}

}  // namespace

TEST_CASE("does a fit tell the rows of the head size that a price is taken from?") {
  const auto cost = model(with_attention());
  const auto ranges = cost.ranges(call(kAttentionDecode, {8, 8000, 32, 8, 256}));
  REQUIRE(ranges.size() == 1);
  CHECK(ranges[0].rows == "fitted head size 128");  // the nearest to 256
  CHECK(ranges[0].quantities[0].name == "KV streams");
  CHECK(ranges[0].quantities[0].high == 128);
  CHECK(cost.ranges(call(kAttentionDecode, {8, 8000, 32, 8, 64}))[0].rows == "fitted head size 64");
}

TEST_CASE("does a generic fit tell its range in the dimensions of its class?") {
  FitFile fit;
  fit.generic.push_back(sampling_fit());
  const auto cost = model(fit);
  const auto own = cost.ranges(call(kSampling, {16, 128256}, DType::fp32));
  REQUIRE(own.size() == 1);
  CHECK(own[0].rows == "fitted fp32");
  REQUIRE(own[0].quantities.size() == 2);
  CHECK(own[0].quantities[1].name == "vocab");
  CHECK(own[0].quantities[1].low == 32000);
  // Other formats are priced from it too, and say which.
  CHECK(cost.ranges(call(kSampling, {16, 128256}))[0].rows == "fitted fp32");
}

TEST_CASE("are there no rows behind a class that was never fitted?") {
  CHECK(model({}).ranges(call(kGemm, {16, 4096, 4096})).empty());
  CHECK(model({}).ranges(call(kAttentionDecode, {8, 8000, 32, 8, 128})).empty());
  CHECK(make_analytic(device(), {})->ranges(call(kGemm, {16, 4096, 4096})).empty());
}
