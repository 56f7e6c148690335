#include "calibration/layer_rows.hpp"

#include <algorithm>
#include <cmath>

#include <catch2/catch.hpp>

#include "calibration/fit.hpp"
#include "calibration/holdout.hpp"
#include "cost/fitted.hpp"
#include "cost/roofline.hpp"
#include "ops/attention_mla.hpp"
#include "ops/moe.hpp"
#include "support/reference_data.hpp"
#include "support/temporary_folder.hpp"

using namespace orrery;
using namespace orrery::calibrate;

namespace {
FittedModel model_of(const DeviceProfile& device, const FitFile& fit) {
  return {fit, device, {}, make_analytic(device, {}), Kernels::as_timed};
}
FittedModel shipped(const std::string& name) {
  const auto device = load_device(name);
  return model_of(device, FitFile::load(device.folder + "/fit.json"));
}

/// A grouped product behind another kernel, which takes what the roofline says.
LayerRow row_of(double rows, double n, double experts, double seconds) {
  LayerRow row;
  row.target = &kGroupedGemm;
  row.calls = {make_call(kMoeRouting, {rows, experts, 1, 1024}, DType::bf16, DType::bf16),
               make_call(kGroupedGemm, {rows, n, 1024, experts, experts}, DType::bf16, DType::bf16)};
  row.shape = {rows, n, experts};
  row.region = "all";
  row.seconds = seconds;
  return row;
}

std::vector<LayerRow> rows_with(const DeviceProfile& device, double launch_s, double bytes_per_s) {
  const auto analytic = make_analytic(device, {});
  std::vector<LayerRow> rows;
  for (double m = 1; m <= 64; m *= 2) {
    for (const double n : {512., 1024., 2048., 4096.}) {
      for (const double experts : {8., 64.}) {
        LayerRow row = row_of(m, n, experts, 0);
        row.seconds =
            analytic->price(row.calls[0]).time.value + launch_s + row.calls[1].work.hbm_bytes() / bytes_per_s;
        rows.push_back(row);
      }
    }
  }
  return rows;
}
}  // namespace

TEST_CASE("does a timing of several kernels give its target what the others leave?") {
  const auto device = load_device("h100-sxm");
  FitFile fit;
  fit.device = device.name;
  fit_layers(device, rows_with(device, 12e-6, 1.5e12), fit);
  REQUIRE(fit.generic.size() == 1);
  CHECK(fit.generic[0].kernel_class == "grouped_gemm");
  CHECK(fit.generic[0].form.c[GenericForm::memory] == Approx(1.5e12).epsilon(0.02));
  CHECK(fit.generic[0].form.c[GenericForm::launch] == Approx(12e-6).epsilon(0.02));
}

TEST_CASE("are timings that a host's launches filled left out, and shorter prices called extrapolated?") {
  const auto device = load_device("h100-sxm");
  auto rows = rows_with(device, 5e-6, 2e12);
  for (auto& row : rows) {
    row.host_launched = true;
    row.seconds = std::max(row.seconds, 20e-6);
  }
  const auto light = make_speed_of_light(device, {});
  const auto groups = layer_groups(device, rows);
  REQUIRE(groups.size() == 1);
  REQUIRE(groups[0].size() < rows.size());
  for (const auto& row : groups[0]) {
    CHECK(seconds_of(row, *light) >= 20e-6);
  }
  FitFile fit;
  fit.device = device.name;
  fit_layers(device, rows, fit);
  REQUIRE(fit.generic.size() == 1);
  const auto model = model_of(device, fit);
  const auto small = make_call(kGroupedGemm, {8, 512, 1024, 8, 8}, DType::bf16, DType::bf16);
  const auto large = make_call(kGroupedGemm, {32, 4096, 1024, 64, 64}, DType::bf16, DType::bf16);
  CHECK(model.price(small).provenance == Provenance::extrapolated);
  CHECK(model.price(large).provenance == Provenance::interpolated);
  CHECK(model.price(large).time.value == Approx(large.work.hbm_bytes() / 2e12).epsilon(0.05));
}

TEST_CASE("do tables of latent attention, experts and DeepEP become the calls of a step?") {
  const TemporaryFolder t("layers");
  const auto mla = t.add("mla.csv",
                         "kernel_source,kv_cache_dtype,num_heads,batch_size,tp_size,step,latency\n"
                         "vllm_flash_attn_mla,bfloat16,16,4,8,1023,0.2\nvllm_flashmla,fp8,16,4,8,1023,0.2\n");
  const auto prompts =
      t.add("prompts.csv",
            "kernel_source,kv_cache_dtype,num_heads,batch_size,isl,tp_size,latency\n"
            "vllm_flash_attn_mla,bfloat16,16,2,1024,8,0.4\nvllm_flashmla,fp8,16,2,1024,8,0.4\n");
  const auto moe =
      t.add("moe.csv",
            "kernel_source,moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,"
            "moe_tp_size,moe_ep_size,distribution,latency\n"
            "a,bfloat16,4,2048,768,8,128,1,8,balanced,0.05\na,bfloat16,64,2048,768,8,128,2,1,"
            "balanced,0.2\nb,fp8,64,2048,768,8,128,2,1,balanced,0.4\na,bfloat16,64,2048,768,8,128,"
            "1,1,power_law_1.2,0.4\n");
  const auto deepep = t.add("deepep.csv",
                            "hidden_size,num_token,num_topk,num_experts,combine_avg_t_us,"
                            "combine_bandwidth_gbps,dispatch_avg_t_us,dispatch_bandwidth_gbps\n"
                            "7168,128,8,256,67.7,216,35.1,216\n");
  const auto rows = read_kernel_rows({mla, prompts, moe, deepep});
  const auto of = [&](const KernelClass& cls) {
    std::vector<LayerRow> out;
    for (const auto& r : rows.layers) {
      if (r.target == &cls) out.push_back(r);
    }
    return out;
  };
  const auto decode = of(kAttentionMlaDecode);
  REQUIRE(decode.size() == 2);
  for (const auto& r : decode) {
    CHECK(target_call(r).dims == KernelClass::Dims{4, 4 * 1023, 16, 512, 64});
    CHECK(r.calls.size() == 3);  // a product by head before, one after
  }
  CHECK(target_call(decode[0]).weight_dtype != target_call(decode[1]).weight_dtype);
  const auto prefill = of(kAttentionMlaPrefill);
  REQUIRE(prefill.size() == 1);  // of both caches the 16-bit one
  CHECK(target_call(prefill[0]).dims == KernelClass::Dims{2, 2048, 1024.0 * 1025, 2048, 1024, 16, 192, 128});
  const auto experts = of(kGroupedGemm);
  REQUIRE(experts.size() == 2);  // neither fp8 nor a skewed load whose experts hit are not told
  CHECK(target_call(experts[0]).dims == KernelClass::Dims{4, 2 * 768, 2048, 16, 4});
  CHECK(target_call(experts[1]).dims == KernelClass::Dims{512, 768, 2048, 128, 128});
  REQUIRE(rows.generic.size() == 2);
  for (const auto& r : rows.generic) {
    const bool dispatch = r.cls->name == "moe_dispatch_low_latency";
    CHECK(r.dims == KernelClass::Dims{128, 8, 7168, 256, 8});
    CHECK(r.dtype == (dispatch ? DType::fp8 : DType::bf16));
    CHECK(r.seconds == Approx(dispatch ? 35.1e-6 : 67.7e-6));
  }
}

TEST_CASE("is arithmetic on widened weights slower by the file's factor, and reading them not?") {
  const auto device = load_device("h100-sxm");
  FitFile fit;
  fit.device = device.name;
  fit_layers(device, rows_with(device, 5e-6, 2e12), fit);
  auto& g = fit.generic.at(0);
  g.form.c[GenericForm::tensor] = 400e12;
  g.surface = {};
  g.weight_only_tensor_factor = 1;
  const auto as_fast = model_of(device, fit);
  g.weight_only_tensor_factor = 3;
  const auto slower = model_of(device, fit);
  const auto seconds = [](const FittedModel& m, double rows, DType weights) {
    return m.price(make_call(kGroupedGemm, {rows, 4096, 4096, 8, 8}, DType::bf16, weights)).time.value;
  };
  CHECK(seconds(slower, 1e6, DType::fp4) / seconds(as_fast, 1e6, DType::fp4) == Approx(3).epsilon(0.02));
  CHECK(seconds(slower, 8, DType::fp4) / seconds(as_fast, 8, DType::fp4) == Approx(1).epsilon(0.01));
  CHECK(seconds(slower, 1e6, DType::bf16) == seconds(as_fast, 1e6, DType::bf16));
}

namespace {
struct Shown {
  const char *device, *table;
  double median, p90;
};
}  // namespace

TEST_CASE("do the shipped fits tell layers' timings that they have never seen?") {
  REQUIRE_REFERENCE_DATA(reference);
  // The medians that fits of the same library's plain attention and GEMM tables were asked for, with half as
  // much again for what subtracting the other kernels adds.
  constexpr Shown kTables[] = {{"h100-sxm", "h100_sxm_mla_decode_vllm0.14.0.csv", 0.09, 0.30},
                               {"h100-sxm", "h100_sxm_mla_prefill_vllm0.14.0.csv", 0.09, 0.30},
                               {"h100-sxm", "h100_sxm_moe_vllm0.24.0.csv", 0.09, 0.30},
                               {"h200-sxm", "h200_sxm_mla_decode_vllm0.14.0.csv", 0.09, 0.30},
                               {"h200-sxm", "h200_sxm_mla_prefill_vllm0.14.0.csv", 0.09, 0.30}};
  for (const auto& t : kTables) {
    INFO(t.table);
    const auto device = load_device(t.device);
    const auto model = shipped(t.device);
    const auto rows = read_kernel_rows({reference + "/kernels/" + t.table});
    std::vector<double> off;
    for (const auto& group : layer_groups(device, rows.layers)) {
      const auto uses = uses_of(group);
      for (std::size_t i = 0; i < group.size(); ++i) {
        if (uses[i] != Use::fit) off.push_back(std::abs(seconds_of(group[i], model) / group[i].seconds - 1));
      }
    }
    REQUIRE(off.size() > 20);
    std::sort(off.begin(), off.end());
    CHECK(off[off.size() / 2] < t.median);
    CHECK(off[off.size() * 9 / 10] < t.p90);
  }
}

TEST_CASE("does absorbed decode on an H100 run as fast as its authors' kernel is published to?") {
  // FlashMLA's README (DeepSeek, 2025) gives up to 3000 GB/s where memory binds and 660 TFLOP/s where
  // arithmetic does, on an H800 SXM5, whose memory and bf16 peak are an H100's.
  const auto model = shipped("h100-sxm");
  const auto memory =
      make_call(kAttentionMlaDecode, {128, 128 * 65536., 16, 512, 64}, DType::bf16, DType::bf16);
  const auto compute =
      make_call(kAttentionMlaDecode, {128, 128 * 65536., 128, 512, 64}, DType::bf16, DType::bf16);
  CHECK(memory.work.hbm_bytes() / model.price(memory).time.value == Approx(3000e9).epsilon(0.15));
  CHECK(compute.work.tensor_flops / model.price(compute).time.value == Approx(660e12).epsilon(0.15));
}
