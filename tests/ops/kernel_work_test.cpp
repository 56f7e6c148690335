#include <cmath>

#include <catch2/catch.hpp>

#include "base/registry.hpp"
#include "ops/attention.hpp"
#include "ops/collective.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/linear.hpp"
#include "ops/vocabulary.hpp"

using namespace orrery;

namespace {
KernelCalls lowered(const Operator& op, const LoweringContext& ctx) {
  BatchShape batch;
  batch.chunks = {{100, 28}, {17, 0}};
  batch.decode_seqs = 5, batch.decode_context = 1234;
  KernelCalls out;
  op.lower(batch, ctx, out);
  return out;
}

void same(const Work& a, const Work& b) {
  CHECK(a.tensor_flops == Approx(b.tensor_flops));
  CHECK(a.tensor_dtype == b.tensor_dtype);
  CHECK(a.vector_flops == Approx(b.vector_flops));
  CHECK(a.hbm_read_bytes == Approx(b.hbm_read_bytes));
  CHECK(a.hbm_write_bytes == Approx(b.hbm_write_bytes));
  CHECK(a.weight_bytes == Approx(b.weight_bytes));
  CHECK(a.link_bytes == Approx(b.link_bytes));
}
}  // namespace

TEST_CASE("does a kernel class count from its dimensions what its operator counts from the batch?", "[ops]") {
  LoweringContext wide, narrow;
  wide.shard.tp = narrow.shard.tp = 2;
  narrow.precision.compute = DType::fp8;
  narrow.precision.weight = DType::fp8;
  narrow.precision.kv_cache = DType::fp8;
  const AttentionSizes sizes{16, 4, 128, 0};
  const Linear linear("proj", {{1024, 1}}, {{8, 128}}, TensorSplit::columns, false);
  const PrefillAttention prefill(sizes);
  const DecodeAttention decode(sizes, 0);
  const AllReduce reduce("sum", 4096);
  const Sampling sampling(32000);
  for (const auto& ctx : {wide, narrow}) {
    for (const Operator* op :
         std::initializer_list<const Operator*>{&linear, &prefill, &decode, &reduce, &sampling}) {
      const auto calls = lowered(*op, ctx);
      REQUIRE(calls.size() == 1);
      INFO(calls[0].cls->name);
      same(calls[0].work, calls[0].cls->work(calls[0].dims, calls[0].dtype, calls[0].weight_dtype));
    }
  }
}

TEST_CASE("is the Work of every kernel class that counts it finite and not negative?", "[ops]") {
  const KernelClass::Dims dims{4, 64, 64, 64, 64, 8, 2, 64};
  for (const auto& entry : Registry<KernelClasses>::entries()) {
    const KernelClass& cls = *entry.make;
    if (cls.work == nullptr) continue;
    INFO(cls.name);
    const KernelCall call = make_call(cls, dims, DType::bf16, DType::bf16);
    const Work& w = call.work;
    for (const double x : {w.tensor_flops, w.vector_flops, w.hbm_read_bytes, w.hbm_write_bytes,
                           w.weight_bytes, w.host_bytes, w.link_bytes}) {
      CHECK(std::isfinite(x));
      CHECK(x >= 0);
    }
    CHECK(w.weight_bytes <= w.hbm_read_bytes);
    const bool launches_only = cls.dims[0] == "kernels" || cls.dims[0] == "nodes";
    CHECK((launches_only || w.flops() + w.hbm_bytes() + w.host_bytes + w.link_bytes > 0));
  }
}
