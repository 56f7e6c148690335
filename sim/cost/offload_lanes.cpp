#include "cost/offload_lanes.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cost/offload_weights.hpp"
#include "ops/copies.hpp"
#include "ops/host_compute.hpp"
#include "ops/offload_calls.hpp"

namespace orrery {

namespace {

/// What reads keys and values: an index that chooses them lies on the GPU.
constexpr std::string_view kKeysReader = "attention";

/// Bytes a copy must have for its rate to be the link's.
constexpr double kLongCopy = 1e9;

double bytes_of_a_token(const ModelSpec& model, const LoweringContext& ctx) {
  double sum = 0;
  for (const KvGroup& group : model.kv_groups(ctx)) sum += group.bytes_per_token;
  return sum;
}

/// Sum over j < steps of first + rise * j.
double sum_of_run(const ContextPrice& line, std::int64_t steps) {
  const auto n = static_cast<double>(steps);
  return static_cast<double>(line.ps) * n + static_cast<double>(line.rise) * (n * (n - 1) / 2);
}

/// The line that is longest now, for as many steps as it stays so.
ContextPrice longest(std::span<const ContextPrice> lines) {
  ContextPrice top = lines.front();
  for (const ContextPrice& line : lines) {
    if (line.ps > top.ps || (line.ps == top.ps && line.rise > top.rise)) top = line;
  }
  for (const ContextPrice& line : lines) {
    top.steps = std::min(top.steps, line.steps);
    if (line.rise > top.rise)
      top.steps = std::min(top.steps, (top.ps - line.ps) / (line.rise - top.rise) + 1);
  }
  return top;
}

}  // namespace

const KernelClass& class_of(OffloadLane lane) {
  const KernelClass* classes[] = {&kCopyH2D, &kCopyD2H, &kDiskRead, &kDiskWrite, &kHostAttentionDecode};
  return *classes[static_cast<std::size_t>(lane)];
}

OffloadLanes::OffloadLanes(const ModelSpec& model, const Shard& shard, const KernelPlan& plan,
                           const Offload& offload, const KernelCostModelPtr& gpu, const Drafting& drafting)
    : model_(model),
      ctx_{shard, plan.precision, plan.fusion},
      policy_(offload.policy),
      host_(offload.host),
      gpu_(gpu),
      class_factor_(plan.class_factor),
      queries_(drafting.queries),
      pace_steps_(drafting.pace_steps),
      gpus_(shard.gpus()),
      token_bytes_(bytes_of_a_token(model, ctx_)) {
  const double disk = policy_.weights.disk + policy_.kv.disk + policy_.activations.disk;
  ORRERY_CHECK(disk == 0 || host_.disk_bytes > 0, "a share on a disk that the host has not");
  if (policy_.weights.away() > 0) add_weights();
  if (policy_.kv.away() > 0) add_kv();
  if (policy_.activations.away() > 0) add_hidden();
}

OffloadLanes::Part& OffloadLanes::add(OffloadLane lane, std::string_view role) {
  Part& part = parts_.emplace_back();
  part.lane = lane, part.role = role;
  return part;
}

/// Over one GPU's link, or out of the memory that all GPUs of the host read at once.
double OffloadLanes::link_s(const KernelClass& cls, double bytes) const {
  const auto factor = class_factor_.find(std::string(cls.name));
  const double link = gpu_->price(make_call(cls, {bytes, 1}, DType::bf16, DType::bf16)).time.value;
  return std::max(link, bytes * gpus_ / host_.memory_bandwidth_bytes_per_s) *
         (factor == class_factor_.end() ? 1.0 : factor->second);
}

double OffloadLanes::disk_s(OffloadLane lane, double bytes) const {
  return bytes * gpus_ /
         (lane == OffloadLane::read ? host_.disk_read_bytes_per_s : host_.disk_write_bytes_per_s);
}

double OffloadLanes::ps_per_byte(OffloadLane lane) const {
  const bool link = lane == OffloadLane::load || lane == OffloadLane::store;
  const double seconds = link ? link_s(class_of(lane), kLongCopy) : disk_s(lane, kLongCopy);
  return seconds / kLongCopy * kPsPerSecond;
}

void OffloadLanes::add_weights() {
  const double bytes = layer_weight_bytes(model_, ctx_) / model_.layers();
  const auto every_layer = [&](double seconds) {
    return std::llround(seconds * model_.layers() * kPsPerSecond);
  };
  add(OffloadLane::load, "load_weights").fixed =
      every_layer(link_s(kCopyH2D, bytes * policy_.weights.away()));
  if (policy_.weights.disk > 0)
    add(OffloadLane::read, "read_weights").fixed =
        every_layer(disk_s(OffloadLane::read, bytes * policy_.weights.disk));
}

void OffloadLanes::give_table(Part& part, std::function<double(const KernelCall&)> seconds) {
  KernelPlan bare;
  bare.precision = ctx_.precision, bare.fusion = ctx_.fusion;
  part.table_calls =
      std::make_unique<StepKernels>(model_, ctx_.shard, bare, cost_with(gpu_, std::move(seconds)));
  part.table =
      std::make_unique<DecodeTable>(*part.table_calls, model_.caps().size(),
                                    model_.max_model_len + model_.max_model_len / 5, queries_, pace_steps_);
}

void OffloadLanes::add_kv() {
  const double away = policy_.kv.away(), disk = policy_.kv.disk;
  Part& store = add(OffloadLane::store, "store_kv");
  store.per_decode_token = store.per_prompt_token = away * token_bytes_ * ps_per_byte(OffloadLane::store);
  Part& load = add(OffloadLane::load, "load_kv");
  load.per_past_byte = away * ps_per_byte(OffloadLane::load);
  if (!policy_.host_attention) {
    give_table(load, [this, away](const KernelCall& call) {
      return call.role == kKeysReader ? link_s(kCopyH2D, away * call.work.hbm_read_bytes) : 0.0;
    });
  }
  if (policy_.host_attention) add_host_attention();
  if (disk == 0) return;
  Part& write = add(OffloadLane::write, "write_kv");
  write.per_decode_token = write.per_prompt_token = disk * token_bytes_ * ps_per_byte(OffloadLane::write);
  Part& read = add(OffloadLane::read, "read_kv");
  read.per_past_byte = disk * ps_per_byte(OffloadLane::read);
  give_table(read, [this, disk](const KernelCall& call) {
    return call.role == kKeysReader ? disk_s(OffloadLane::read, disk * call.work.hbm_read_bytes) : 0.0;
  });
}

void OffloadLanes::add_host_attention() {
  // Queries go to the host, outputs come back; keys and values are stored there as ever.
  double width = 0;
  for (const LayerKind& kind : model_.kinds) {
    for (const Mixer& mixer : kind.mixers) {
      if (const auto* a = std::get_if<AttentionParams>(&mixer))
        width += static_cast<double>(a->heads * a->head_dim * kind.count) / ctx_.shard.tp;
      else
        width += static_cast<double>(model_.hidden * kind.count) / ctx_.shard.tp;
    }
  }
  const double bytes = width * bytes_per_element(ctx_.precision.activation);
  add(OffloadLane::store, "send_queries").per_decode_token = bytes * ps_per_byte(OffloadLane::store);
  add(OffloadLane::load, "load_outputs").per_decode_token = bytes * ps_per_byte(OffloadLane::load);
  const double part = policy_.kv.away() * gpus_ / policy_.host_nodes;
  const KernelCostModelPtr cores = host_cost(host_);
  give_table(add(OffloadLane::host, "host_attention"),
             [cores, part](const KernelCall& call) { return part * cores->price(call).time.value; });
}

void OffloadLanes::add_hidden() {
  const double each =
      static_cast<double>(model_.hidden * model_.layers()) * bytes_per_element(ctx_.precision.activation);
  const auto move = [&](OffloadLane lane, std::string_view role, double share) {
    Part& part = add(lane, role);
    part.per_decode_token = part.per_prompt_token = share * each * ps_per_byte(lane);
  };
  move(OffloadLane::load, "load_hidden", policy_.activations.away());
  move(OffloadLane::store, "store_hidden", policy_.activations.away());
  if (policy_.activations.disk == 0) return;
  move(OffloadLane::read, "read_hidden", policy_.activations.disk);
  move(OffloadLane::write, "write_hidden", policy_.activations.disk);
}

ContextPrice OffloadLanes::price(Part& part, const DecodeSet& set) const {
  ContextPrice line;
  line.ps = part.fixed + std::llround(part.per_decode_token * static_cast<double>(set.seqs * queries_));
  for (std::size_t g = 0; part.table && set.seqs > 0 && g < part.table->groups(); ++g) {
    const ContextPrice group = part.table->price(g, set);
    line.ps += group.ps, line.rise += group.rise;
    line.steps = std::min(line.steps, group.steps);
  }
  return line;
}

std::int64_t OffloadLanes::price(Part& part, const DecodeSet& set, Chunks chunks) const {
  double more = 0;
  for (const PrefillChunk& chunk : chunks) {
    more += part.per_prompt_token * static_cast<double>(chunk.new_tokens);
    if (part.per_past_byte > 0 && chunk.past > 0)
      more += part.per_past_byte * model_.sequence_bytes(chunk.past, ctx_);
  }
  return price(part, set).ps + std::llround(more);
}

OffloadLanes::Lines OffloadLanes::lines(const DecodeSet& set) {
  Lines lanes{};
  for (Part& part : parts_) {
    const ContextPrice line = price(part, set);
    ContextPrice& lane = lanes[static_cast<std::size_t>(part.lane)];
    lane.ps += line.ps, lane.rise += line.rise;
    lane.steps = std::min(lane.steps, line.steps);
  }
  return lanes;
}

ContextPrice OffloadLanes::decode(const DecodeSet& set, const ContextPrice& gpu) {
  const Lines lanes = lines(set);
  std::vector<ContextPrice> all(lanes.begin(), lanes.end());
  all.insert(all.begin(), gpu);
  if (policy_.overlap) return longest(all);
  ContextPrice sum{0, 0, kEndless, gpu.provenance};
  for (const ContextPrice& line : all) {
    sum.ps += line.ps, sum.rise += line.rise;
    sum.steps = std::min(sum.steps, line.steps);
  }
  return sum;
}

std::int64_t OffloadLanes::mixed(const DecodeSet& set, Chunks chunks, std::int64_t gpu) {
  std::array<std::int64_t, kOffloadLanes> lanes{};
  for (Part& part : parts_) lanes[static_cast<std::size_t>(part.lane)] += price(part, set, chunks);
  std::int64_t busiest = gpu, sum = gpu;
  for (const std::int64_t lane : lanes) busiest = std::max(busiest, lane), sum += lane;
  return policy_.overlap ? busiest : sum;
}

double OffloadLanes::account_decode(const DecodeSet& set, const ContextPrice& gpu, std::int64_t steps,
                                    ClassAccount& out) {
  const Lines lanes = lines(set);
  const double computed = sum_of_run(gpu, steps);
  double shown = 0, busiest = computed;
  std::size_t top = kOffloadLanes;
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const double ps = sum_of_run(lanes[i], steps);
    if (ps > busiest) busiest = ps, top = i;
    if (policy_.overlap || ps == 0) continue;
    out.add(class_of(static_cast<OffloadLane>(i)), Provenance::analytic, ps / kPsPerSecond);
    shown += ps;
  }
  if (!policy_.overlap || top == kOffloadLanes) return shown;
  out.add(class_of(static_cast<OffloadLane>(top)), Provenance::analytic, (busiest - computed) / kPsPerSecond);
  return busiest - computed;
}

double OffloadLanes::account_mixed(const DecodeSet& set, Chunks chunks, std::int64_t gpu, ClassAccount& out) {
  std::array<std::int64_t, kOffloadLanes> lanes{};
  for (Part& part : parts_) lanes[static_cast<std::size_t>(part.lane)] += price(part, set, chunks);
  const auto top = static_cast<std::size_t>(std::max_element(lanes.begin(), lanes.end()) - lanes.begin());
  double shown = 0;
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const std::int64_t ps = !policy_.overlap ? lanes[i]
                            : i == top       ? std::max<std::int64_t>(0, lanes[i] - gpu)
                                             : 0;
    if (ps == 0) continue;
    out.add(class_of(static_cast<OffloadLane>(i)), Provenance::analytic,
            static_cast<double>(ps) / kPsPerSecond);
    shown += static_cast<double>(ps);
  }
  return shown;
}

Seconds OffloadLanes::explain(const BatchShape& batch, Seconds gpu, StepExplanation& out) {
  DecodeSet set;
  set.seqs = batch.decode_seqs, set.context = batch.decode_context;
  std::copy(batch.windowed_context.begin(), batch.windowed_context.end(), set.windowed.begin());
  for (Part& part : parts_) {
    const Seconds time = to_seconds(Ps(price(part, set, batch.chunks)));
    if (time.value == 0) continue;
    const KernelClass& cls = class_of(part.lane);
    // What would take as long: bytes at the lane's rate, for all but the host's cores.
    const double bytes =
        part.lane == OffloadLane::host ? 0 : time.value * kPsPerSecond / ps_per_byte(part.lane);
    KernelCall call = make_call(cls, {bytes, 1}, DType::bf16, DType::bf16);
    if (part.lane == OffloadLane::host) {
      call.dims = {static_cast<double>(set.seqs), static_cast<double>(set.context)};
      call.work = {};
    }
    call.lane = part.lane == OffloadLane::host ? Lane::cpu : Lane::copy;
    call.role = part.role;
    out.calls.push_back({call, {time, Provenance::analytic}, time});
    out.lanes[static_cast<std::size_t>(part.lane)] += time;
  }
  return to_seconds(Ps(mixed(set, batch.chunks, to_ps(gpu).value)));
}

}  // namespace orrery
