#include "ops/collective.hpp"

#include "base/registry.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/vocabulary.hpp"

namespace orrery {

namespace {
/// A payload read and written once in HBM; what crosses the link is added by the kind of collective.
Work payload_work(double bytes) {
  Work w;
  w.hbm_read_bytes = w.hbm_write_bytes = bytes;
  return w;
}

Work all_reduce_work(const KernelClass::Dims& dims, DType dtype, DType) {
  const double ranks = dims[0], bytes = dims[1];
  Work w = payload_work(bytes);
  w.link_bytes = 2.0 * (ranks - 1) / ranks * bytes;
  w.vector_flops = bytes / bytes_per_element(dtype) * (ranks - 1) / ranks;
  return w;
}

Work all_gather_work(const KernelClass::Dims& dims, DType, DType) {
  const double ranks = dims[0], bytes = dims[1];
  Work w = payload_work(bytes);
  w.hbm_write_bytes = ranks * bytes;
  w.link_bytes = (ranks - 1) * bytes;
  return w;
}

Work send_recv_work(const KernelClass::Dims& dims, DType, DType) {
  Work w = payload_work(dims[1]);
  w.link_bytes = dims[1];
  return w;
}
}  // namespace

constexpr KernelClass kAllReduceNccl{
    "all_reduce_nccl", KernelClass::Scaling::tokens, {"ranks", "bytes"}, "NCCL all-reduce", all_reduce_work};
constexpr KernelClass kAllReduceCustom{"all_reduce_custom",
                                       KernelClass::Scaling::tokens,
                                       {"ranks", "bytes"},
                                       "one-launch all-reduce over NVLink",
                                       all_reduce_work};
constexpr KernelClass kAllGather{"all_gather",
                                 KernelClass::Scaling::logits,
                                 {"ranks", "bytes"},
                                 "all-gather of the logits",
                                 all_gather_work};
constexpr KernelClass kSendRecv{
    "send_recv", KernelClass::Scaling::tokens, {"ranks", "bytes"}, "send to the next stage", send_recv_work};
constexpr KernelClass kSendRecvNetwork{"send_recv_network",
                                       KernelClass::Scaling::tokens,
                                       {"ranks", "bytes"},
                                       "send to the next stage in another node",
                                       send_recv_work};

namespace {
KernelCall collective(const KernelClass& cls, std::string_view role, int ranks, double bytes, DType dtype) {
  KernelCall call = make_call(cls, {static_cast<double>(ranks), bytes}, dtype, dtype);
  call.lane = Lane::comm;
  call.role = role;
  return call;
}
}  // namespace

void AllReduce::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const int ranks = ctx.shard.tp;
  if (ranks < 2 || batch.dense_tokens() == 0) return;
  const double bytes =
      static_cast<double>(batch.dense_tokens() * width_) * bytes_per_element(ctx.precision.activation);
  out.push_back(collective(kAllReduceNccl, role_, ranks, bytes, ctx.precision.activation));
}

void LogitsGather::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  const int ranks = ctx.shard.tp;
  if (ranks < 2 || batch.logit_rows() == 0) return;
  const double bytes = static_cast<double>(batch.logit_rows() * local_vocab(vocab_, ranks)) *
                       bytes_per_element(ctx.precision.activation);
  out.push_back(collective(kAllGather, "logits_gather", ranks, bytes, ctx.precision.activation));
}

void SendRecv::lower(const BatchShape& batch, const LoweringContext& ctx, KernelCalls& out) const {
  if (batch.dense_tokens() == 0) return;
  const int ranks = ctx.shard.tp, tensors = ctx.fusion.norm_residual ? 2 : 1;
  const DType dtype = ctx.precision.activation;
  const double bytes =
      static_cast<double>(batch.dense_tokens() * width_ * tensors) * bytes_per_element(dtype) / ranks;
  out.push_back(collective(to_other_node_ ? kSendRecvNetwork : kSendRecv, "send_recv", 2, bytes, dtype));
  if (ranks > 1) out.push_back(collective(kAllGather, "stage_gather", ranks, bytes, dtype));
}

const Registration<KernelClasses> all_reduce_nccl_class{"all_reduce_nccl", "all-reduce by NCCL",
                                                        &kAllReduceNccl};
const Registration<KernelClasses> all_reduce_custom_class{
    "all_reduce_custom", "all-reduce in one kernel over peer memory", &kAllReduceCustom};
const Registration<KernelClasses> all_gather_class{"all_gather", "all-gather of the logits", &kAllGather};
const Registration<KernelClasses> send_recv_class{"send_recv", "hidden states to the next stage", &kSendRecv};
const Registration<KernelClasses> send_recv_network_class{
    "send_recv_network", "hidden states to the next stage in another node", &kSendRecvNetwork};

}  // namespace orrery
