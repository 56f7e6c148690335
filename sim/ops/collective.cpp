#include "ops/collective.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/vocabulary.hpp"

namespace orrery {

constexpr KernelClass kAllReduceNccl{
    "all_reduce_nccl", KernelClass::Scaling::tokens, {"ranks", "bytes"}, "NCCL all-reduce"};
constexpr KernelClass kAllReduceCustom{"all_reduce_custom",
                                       KernelClass::Scaling::tokens,
                                       {"ranks", "bytes"},
                                       "one-launch all-reduce over NVLink"};
constexpr KernelClass kAllGather{
    "all_gather", KernelClass::Scaling::logits, {"ranks", "bytes"}, "all-gather of the logits"};
constexpr KernelClass kSendRecv{
    "send_recv", KernelClass::Scaling::tokens, {"ranks", "bytes"}, "send to the next stage"};

namespace {
KernelCall collective(const KernelClass& cls, std::string_view role, int ranks, double bytes, DType dtype) {
  KernelCall call;
  call.cls = &cls;
  call.dims = {static_cast<double>(ranks), bytes};
  call.dtype = call.weight_dtype = dtype;
  call.lane = Lane::comm;
  call.role = role;
  call.work.hbm_read_bytes = call.work.hbm_write_bytes = bytes;
  return call;
}
}  // namespace

void AllReduce::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const int ranks = ctx.shard.tp;
  if (ranks < 2 || batch.dense_tokens() == 0) return;
  const double bytes =
      static_cast<double>(batch.dense_tokens() * width_) * bytes_per_element(ctx.precision.activation);
  auto call = collective(kAllReduceNccl, role_, ranks, bytes, ctx.precision.activation);
  call.work.link_bytes = 2.0 * (ranks - 1) / ranks * bytes;
  call.work.vector_flops = static_cast<double>(batch.dense_tokens() * width_) * (ranks - 1) / ranks;
  out.push_back(call);
}

void LogitsGather::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const int ranks = ctx.shard.tp;
  if (ranks < 2 || batch.logit_rows() == 0) return;
  const double bytes = static_cast<double>(batch.logit_rows() * local_vocab(vocab_, ranks)) *
                       bytes_per_element(ctx.precision.activation);
  auto call = collective(kAllGather, "logits_gather", ranks, bytes, ctx.precision.activation);
  call.work.hbm_write_bytes = ranks * bytes;
  call.work.link_bytes = (ranks - 1) * bytes;
  out.push_back(call);
}

void SendRecv::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.dense_tokens() == 0) return;
  const double bytes =
      static_cast<double>(batch.dense_tokens() * width_) * bytes_per_element(ctx.precision.activation);
  auto call = collective(kSendRecv, "send_recv", 2, bytes, ctx.precision.activation);
  call.work.link_bytes = bytes;
  out.push_back(call);
}

const Registration<KernelClasses> all_reduce_nccl_class{"all_reduce_nccl", "all-reduce by NCCL",
                                                        &kAllReduceNccl};
const Registration<KernelClasses> all_reduce_custom_class{
    "all_reduce_custom", "all-reduce in one kernel over peer memory", &kAllReduceCustom};
const Registration<KernelClasses> all_gather_class{"all_gather", "all-gather of the logits", &kAllGather};
const Registration<KernelClasses> send_recv_class{"send_recv", "hidden states to the next stage", &kSendRecv};

}  // namespace orrery
