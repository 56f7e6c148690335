#include "scenario/precision.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"

using namespace orrery;

namespace {

DeviceProfile device_with(const char* name, std::initializer_list<DType> formats) {
  DeviceProfile d;
  d.name = name;
  for (const DType t : formats) d.tensor_flops_per_s[static_cast<std::size_t>(t)] = 1e15;
  return d;
}
DeviceProfile hopper() {
  return device_with("hopper", {DType::bf16, DType::fp16, DType::fp8, DType::int8});
}
DeviceProfile ampere() {
  return device_with("ampere", {DType::bf16, DType::fp16, DType::int8});
}

struct Chosen {
  Precision precision;
  std::vector<std::string> warnings;
};
Chosen choose(const std::string& quantization, const Precision& native = {},
              const DeviceProfile& device = hopper(), const std::string& kv = "auto",
              const std::string& dtype = "auto") {
  Scenario s;
  s.quantization = quantization, s.kv_cache_dtype = kv, s.dtype = dtype;
  ModelSpec model;
  model.native = native;
  Chosen c;
  c.precision = choose_precision(s, model, device, c.warnings);
  return c;
}
Precision experts_in_mxfp4() {
  Precision p;
  LinearFormat f;
  f.weight = DType::fp4, f.scales = mx_scales();
  p.of(Module::experts) = f;
  return p;
}
Precision nvfp4() {
  Precision p;
  p.weight = p.compute = DType::fp4;
  p.of(Module::mixer) = LinearFormat{};
  return p;
}

}  // namespace

TEST_CASE("does a method quantise the modules that engines quantise by that name?") {
  const auto awq = choose("awq").precision;
  CHECK(awq.linear(Module::mixer).weight == DType::int4);
  CHECK(awq.linear(Module::experts).compute == DType::bf16);
  const auto mx = choose("mxfp4").precision;
  CHECK(mx.linear(Module::mixer) == LinearFormat{});
  CHECK(8 * stored_matrix_bytes(mx.linear(Module::experts), 4096, 4096) == 4.25 * 4096 * 4096);
  const auto w4a8 = choose("w4afp8").precision.linear(Module::experts);
  CHECK(w4a8.weight == DType::int4);
  CHECK(w4a8.compute == DType::fp8);
  const auto sparse = choose("gptq_marlin_24").precision.linear(Module::ffn);
  CHECK(sparse.sparsity.keep == 2);
  CHECK(choose("bitsandbytes").precision.linear(Module::ffn).scales == double_quantised_scales());
}

TEST_CASE("does naming the checkpoint's own method keep how it is stored, and another replace it?") {
  for (const char* own : {"auto", "mxfp4"}) {
    const auto p = choose(own, experts_in_mxfp4()).precision;
    CHECK(p == experts_in_mxfp4());
  }
  const auto fp8 = choose("fp8", experts_in_mxfp4()).precision;
  CHECK(fp8.linear(Module::experts).weight == DType::fp8);
  CHECK(fp8.linear(Module::mixer).weight == DType::fp8);
  const auto none = choose("none", experts_in_mxfp4()).precision;
  CHECK(none.linear(Module::experts) == LinearFormat{});
}

TEST_CASE("do formats a device has no matrix units for run as weights alone, and say so?") {
  const auto native = device_with("blackwell", {DType::bf16, DType::fp8, DType::fp4});
  CHECK(choose("auto", nvfp4(), native).precision.linear(Module::ffn).compute == DType::fp4);
  CHECK(choose("auto", nvfp4(), native).warnings.empty());
  const auto marlin = choose("auto", nvfp4());
  CHECK(marlin.precision.linear(Module::ffn).weight == DType::fp4);
  CHECK(marlin.precision.linear(Module::ffn).compute == DType::bf16);
  REQUIRE(marlin.warnings.size() == 1);
  CHECK_THAT(marlin.warnings[0], Catch::Contains("W4A16") && Catch::Contains("no fp4 matrix units"));

  Precision apart;  // experts alone in fp8: the module's own arithmetic is widened too
  LinearFormat f;
  f.weight = f.compute = DType::fp8;
  apart.of(Module::experts) = f;
  const auto widened = choose("auto", apart, ampere());
  CHECK(widened.precision.linear(Module::experts).compute == DType::bf16);
  CHECK_THAT(widened.warnings.at(0), Catch::Contains("W8A16"));
}

TEST_CASE("is arithmetic that neither device nor engine can do refused with what is valid there?") {
  Precision w4a4;
  w4a4.weight = w4a4.compute = DType::int4;
  try {
    choose("auto", w4a4);
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK_THAT(e.what(), Catch::Contains("quantization") && Catch::Contains("int4"));
    CHECK_THAT(e.hint(), Catch::Contains("bf16 fp16 fp8 int8"));
    CHECK(e.code() == ExitCode::infeasible);
  }
  CHECK_THROWS_AS(choose("int3"), ConfigError);
  CHECK_THROWS_AS(choose("auto", {}, hopper(), "int2"), ConfigError);
}

TEST_CASE("do a dtype and a KV format change what was in the activation's format, and nothing else?") {
  const auto p = choose("auto", experts_in_mxfp4(), hopper(), "int8", "float16").precision;
  CHECK(p.activation == DType::fp16);
  CHECK(p.linear(Module::experts).weight == DType::fp4);
  CHECK(p.linear(Module::experts).compute == DType::fp16);
  CHECK(p.kv_cache == DType::int8);
  CHECK(kv_bytes_per_element(p.kv_cache) == 1 + 2.0 / 64);
}
