#include "cost/offload_schedule.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "cost/offload_cost.hpp"
#include "cost/offload_weights.hpp"
#include "cost/roofline.hpp"

namespace orrery {

TierRates tier_rates(const DeviceProfile& device, const HostProfile& host) {
  const AnalyticEfficiency gpu;
  const HostEfficiency cores;
  const double tensor = std::max(device.tensor_peak(DType::bf16), device.tensor_peak(DType::fp16));
  TierRates r;
  r.load = r.store = r.store_hidden =
      std::min(gpu.host * device.pcie_bytes_per_s, host.memory_bandwidth_bytes_per_s);
  r.read = host.disk_read_bytes_per_s, r.write = host.disk_write_bytes_per_s;
  r.prompt_products = r.decode_products = r.prompt_attention = gpu.tensor * tensor;
  // A decode reads two bytes for each multiplication of two operations: its keys' bytes are its time.
  r.decode_attention = gpu.memory * device.memory_bandwidth_bytes_per_s;
  r.host_attention =
      std::min(cores.vector * host.flops_per_s, cores.memory * host.memory_bandwidth_bytes_per_s);
  r.device_memory = gpu.memory * device.memory_bandwidth_bytes_per_s;
  return r;
}

double LayerTime::longest() const {
  return std::max({load, store, read, write, compute});
}

namespace {

double attention_flops_of(const ModelSpec& model) {
  double sum = 0;
  for (const LayerKind& kind : model.kinds) {
    for (const Mixer& mixer : kind.mixers) {
      const auto* a = std::get_if<AttentionParams>(&mixer);
      ORRERY_CHECK(a != nullptr, "a block schedule of another mixer than attention");
      sum += 4.0 * static_cast<double>(a->heads * a->head_dim) * kind.count;
    }
  }
  return sum / model.layers();
}

/// Queries, keys, values, outputs, and the widest row of the feed-forward.
double inner_bytes_of(const ModelSpec& model, double bytes) {
  double widest = 0;
  for (const LayerKind& kind : model.kinds) {
    if (const auto* dense = dense_of(kind)) widest = std::max(widest, static_cast<double>(dense->width));
  }
  return bytes * (4 * static_cast<double>(model.hidden) + widest);
}

}  // namespace

BlockModel::BlockModel(const ModelSpec& model, const LoweringContext& ctx, const TierRates& rates,
                       double unpacking)
    : rates_(rates), layers_(model.layers()) {
  ORRERY_CHECK(model.layers() > 0, "a block schedule of no layers");
  const double activation = bytes_per_element(ctx.precision.activation);
  weight_bytes_ = layer_weight_bytes(model, ctx) / layers_;
  LoweringContext plain;
  weights_ = layer_weight_bytes(model, plain) / bytes_per_element(plain.precision.weight) / layers_;
  token_bytes_ = model.kv_bytes_per_token(ctx) / layers_;
  hidden_bytes_ = activation * static_cast<double>(model.hidden);
  attention_flops_ = attention_flops_of(model);
  inner_bytes_ = inner_bytes_of(model, activation);
  const auto unpack = [&](double stored, double values) {
    return unpacking > 0 && stored < values * activation ? unpacking / rates_.device_memory : 0;
  };
  unpack_s_per_weight_ = unpack(weight_bytes_, weights_);
  token_values_ = model.kv_bytes_per_token(plain) / bytes_per_element(plain.precision.kv_cache) / layers_;
  unpack_s_per_value_ = unpack(token_bytes_, token_values_);
}

LayerTime BlockModel::prompt_time(const OffloadPolicy& p, const RequestBlock& b) const {
  const auto n = static_cast<double>(b.size()), s = static_cast<double>(b.prompt);
  const double hidden = hidden_bytes_ * s * n, cache = token_bytes_ * (s + 1) * n;
  LayerTime t;
  t.load = (weight_bytes_ * p.weights.away() + hidden * p.activations.away()) / rates_.load;
  t.store = cache * p.kv.away() / rates_.store + hidden * p.activations.away() / rates_.store_hidden;
  if (p.weights.disk + p.activations.disk > 0)
    t.read = (weight_bytes_ * p.weights.disk + hidden * p.activations.disk) / rates_.read;
  if (p.kv.disk + p.activations.disk > 0)
    t.write = (cache * p.kv.disk + hidden * p.activations.disk) / rates_.write;
  t.compute = 2 * weights_ * s * n / rates_.prompt_products +
              attention_flops_ * s * s * n / rates_.prompt_attention +
              weights_ * static_cast<double>(b.batches) * unpack_s_per_weight_;
  return t;
}

LayerTime BlockModel::decode_time(const OffloadPolicy& p, const RequestBlock& b) const {
  const auto n = static_cast<double>(b.size());
  const double context = static_cast<double>(b.prompt) + static_cast<double>(b.output) / 2;
  const double hidden = hidden_bytes_ * n, cache = token_bytes_ * n, keys = cache * context;
  const bool on_host = p.host_attention && unpack_s_per_value_ == 0;
  LayerTime t;
  t.load = (weight_bytes_ * p.weights.away() + hidden * p.activations.away() +
            (on_host ? 0 : keys * p.kv.away())) /
           rates_.load;
  t.store = hidden * p.activations.away() / rates_.store_hidden +
            (on_host ? 0 : cache * p.kv.away() / rates_.store);
  const double read = keys * p.kv.disk + weight_bytes_ * p.weights.disk + hidden * p.activations.disk;
  const double write = cache * p.kv.disk + hidden * p.activations.disk;
  if (read > 0) t.read = read / rates_.read;
  if (write > 0) t.write = write / rates_.write;
  const double attention = attention_flops_ * context * n;
  t.compute = 2 * weights_ * n / rates_.decode_products +
              attention * (on_host ? p.kv.gpu() : 1) / rates_.decode_attention +
              (on_host ? attention * p.kv.away() / rates_.host_attention : 0) +
              weights_ * static_cast<double>(b.batches) * unpack_s_per_weight_ +
              token_values_ * context * n * unpack_s_per_value_;
  return t;
}

TierBytes BlockModel::held(const OffloadPolicy& p, const RequestBlock& b) const {
  const auto n = static_cast<double>(b.size()), rows = static_cast<double>(b.rows);
  const auto s = static_cast<double>(b.prompt), all = s + static_cast<double>(b.output);
  const double weights = layers_ * weight_bytes_, cache = layers_ * token_bytes_ * all * n;
  const double hidden = hidden_bytes_ * s * n;
  TierBytes held{weights * p.weights.gpu() + cache * p.kv.gpu() + hidden * p.activations.gpu(),
                 weights * p.weights.host + cache * p.kv.host + hidden * p.activations.host,
                 weights * p.weights.disk + cache * p.kv.disk + hidden * p.activations.disk};
  // On their way: two layers' weights, a batch's hidden states and what the layer makes of them.
  held.gpu += 2 * weight_bytes_ * p.weights.away() + rows * s * (2 * hidden_bytes_ + inner_bytes_);
  held.host += weight_bytes_ * p.weights.disk + token_bytes_ * all * rows * p.kv.disk;
  return held;
}

BlockSchedule BlockModel::schedule(const OffloadPolicy& p, const RequestBlock& b) const {
  BlockSchedule out;
  out.prompt = prompt_time(p, b), out.decode = decode_time(p, b);
  const auto time = [&](const LayerTime& t) { return p.overlap ? t.longest() : t.sum(); };
  const auto n = static_cast<double>(b.output);
  out.seconds = layers_ * (time(out.prompt) + time(out.decode) * (n - 1));
  out.tokens_per_s = static_cast<double>(b.size()) * n / out.seconds;
  out.held = held(p, b);
  return out;
}

namespace {

/// All divisions of one into three parts of 1/steps.
std::vector<TierShares> divisions(int steps, bool disk) {
  std::vector<TierShares> out;
  for (int gpu = steps; gpu >= 0; --gpu) {
    for (int host = steps - gpu; host >= (disk ? 0 : steps - gpu); --host) {
      const double part = 1.0 / steps;
      out.push_back({host * part, (steps - gpu - host) * part});
    }
  }
  return out;
}

}  // namespace

std::optional<BlockPlan> best_plan(const BlockModel& model, std::span<const RequestBlock> blocks,
                                   const TierBytes& room, bool host_attention, int steps) {
  const auto shares = divisions(steps, room.disk > 0), hidden = divisions(1, false);
  std::optional<BlockPlan> best;
  OffloadPolicy p;
  p.host_attention = host_attention;
  for (const RequestBlock& block : blocks) {
    for (const TierShares& weights : shares) {
      for (const TierShares& kv : shares) {
        for (const TierShares& activations : hidden) {
          p.weights = weights, p.kv = kv, p.activations = activations;
          const BlockSchedule s = model.schedule(p, block);
          if (s.held.gpu > room.gpu || s.held.host > room.host || s.held.disk > room.disk) continue;
          if (!best || s.tokens_per_s > best->schedule.tokens_per_s) best = BlockPlan{p, block, s};
        }
      }
    }
  }
  return best;
}

}  // namespace orrery
