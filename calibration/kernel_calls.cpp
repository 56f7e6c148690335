#include "calibration/kernel_calls.hpp"

#include <algorithm>

#include "base/registry.hpp"
#include "ops/attention.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery::calibrate {

namespace {
std::int64_t whole(double x) {
  return static_cast<std::int64_t>(x);
}

AttentionSizes sizes(const AttentionRow& r) {
  return {whole(r.heads), whole(r.kv_heads), whole(r.head_dim), whole(r.window)};
}

KernelCall only(const KernelCalls& calls) {
  ORRERY_CHECK(calls.size() == 1, "one operator of a measured row lowers to one call");
  return calls.front();
}
}  // namespace

KernelCall kernel_call(const GemmRow& r) {
  return make_call(kGemm, {r.m, r.n, r.k}, r.dtype, r.weight_dtype());
}

KernelCall prefill_call(const AttentionRow& r) {
  if (r.dims) return make_call(kAttentionPrefill, *r.dims, DType::bf16, r.kv_dtype);
  BatchShape batch;
  batch.chunks.assign(static_cast<std::size_t>(r.batch), {whole(r.length), 0});
  KernelCalls out;
  PrefillAttention(sizes(r)).lower(batch, {}, out);
  return only(out);
}

KernelCall decode_call(const AttentionRow& r) {
  if (r.dims) return make_call(kAttentionDecode, *r.dims, DType::bf16, r.kv_dtype);
  BatchShape batch;
  batch.decode_seqs = whole(r.batch);
  batch.decode_context = whole(r.batch * r.length);
  const double seen = r.window > 0 ? std::min(r.length, r.window) : r.length;
  batch.windowed_context = {whole(r.batch * seen)};
  KernelCalls out;
  DecodeAttention(sizes(r), 0).lower(batch, {}, out);
  return only(out);
}

KernelCall kernel_call(const CollectiveRow& r) {
  KernelCall call;
  call.cls = Registry<KernelClasses>::find(r.kernel_class).make;
  call.dims = {r.ranks, r.bytes};
  call.lane = Lane::comm;
  return call;
}

KernelCall kernel_call(const RowKernelRow& r) {
  KernelCall call;
  call.cls = Registry<KernelClasses>::find(r.kernel_class).make;
  call.dims = {1, r.bytes};
  call.work.hbm_read_bytes = r.bytes;
  return call;
}

KernelCall kernel_call(const GenericRow& r) {
  return make_call(*r.cls, r.dims, r.dtype, r.weight_dtype);
}

PrefillShape prefill_shape(const AttentionRow& r) {
  const auto d = prefill_call(r).dims;
  return {d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]};
}

DecodeShape decode_shape(const AttentionRow& r) {
  const auto d = decode_call(r).dims;
  return {d[0], d[1] / d[0], d[2], d[3], d[4]};
}

}  // namespace orrery::calibrate
