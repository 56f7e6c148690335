#include "scenario/offloading.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.hpp"
#include "cost/offload_weights.hpp"
#include "model/block_reader.hpp"
#include "model/pipeline_stages.hpp"
#include "scenario/value_forms.hpp"

namespace orrery {

namespace {

[[noreturn]] void refuse(const std::string& what, std::string hint) {
  throw ConfigError(what, std::move(hint), ExitCode::usage);
}

void check_shares(const TierShares& shares, const std::string& of) {
  if (shares.host < 0 || shares.disk < 0 || shares.away() > 1 + 1e-9) {
    refuse(fmt::format("{}: shares of host {:g} and disk {:g} must be between 0 and 1 together", of,
                       shares.host, shares.disk),
           {});
  }
}

void check_policy(const OffloadPolicy& p) {
  check_shares(p.weights, "weights"), check_shares(p.kv, "kv"), check_shares(p.activations, "activations");
  if (p.host_nodes < 1) refuse(fmt::format("host_nodes must be at least 1, found {}", p.host_nodes), {});
  const NeuronSplit& n = p.neurons;
  for (const double share : {n.hot, n.activated, n.hot_activations}) {
    if (share < 0 || share > 1) refuse(fmt::format("neurons: {:g} is no share", share), "0 to 1");
  }
  if (n.hot < 1 && p.weights.away() > 0)
    refuse("neurons and weights both place the matrices of feed-forwards", "one of them");
  if (p.host_attention && p.kv.away() == 0) {
    refuse("host_attention computes over the keys outside the GPU, and all of them are on it",
           "kv: {\"host\": 1}");
  }
}

/// vLLM moves parameters of layers to host memory until so many GiB of each GPU's are there.
void move_weights(double gib, const ModelSpec& model, const LoweringContext& ctx, OffloadPolicy& p) {
  if (gib <= 0) return;
  if (p.weights.away() > 0) refuse("cpu_offload_gb and another argument both move weights", "one of them");
  p.weights.host = std::min(1.0, gib * kGiB / layer_weight_bytes(model, ctx));
  p.overlap = false;
}

void split_layers(std::int64_t on_gpu, const ModelSpec& model, OffloadPolicy& p) {
  if (p.host_layers > 0) refuse("n_gpu_layers and offload_config both place layers", "one of them");
  p.host_layers = static_cast<int>(std::max<std::int64_t>(0, model.layers() - on_gpu));
}

void check_split(const OffloadPolicy& p, const ModelSpec& model, const Shard& shard) {
  if (shard.pp > 1 || shard.cp > 1)
    refuse(fmt::format("offloading over {} is not modelled", name(shard)), "--tensor-parallel-size alone");
  if (p.host_layers > 0 && shard.gpus() > 1)
    refuse(fmt::format("layers on the host beside {} GPUs are not modelled", shard.gpus()),
           "one GPU, or --cpu-offload-gb");
  if (p.host_layers > model.layers())
    refuse(fmt::format("host_layers is {}, and {} has {} layers", p.host_layers, model.name, model.layers()),
           {});
}

[[noreturn]] void refuse_host(const Offload& o, const std::string& what, double need, double has) {
  throw ConfigError(
      fmt::format("{} do not fit {}: {:.1f} GiB of {:.1f} GiB", what, o.host.name, need / kGiB, has / kGiB),
      "--offload-host, or more on the GPU", ExitCode::infeasible);
}

}  // namespace

OffloadPolicy parse_percent(std::string_view text) {
  std::vector<double> n;
  for (std::size_t start = 0; start < text.size();) {
    const auto end = std::min(text.find_first_of(", ", start), text.size());
    if (end > start) n.push_back(parse_number(std::string(text.substr(start, end - start))) / 100);
    start = end + 1;
  }
  if (n.size() != 6) {
    refuse(
        fmt::format("percent: expected six numbers, found {} in '{}'", n.size(), text),
        "weights on GPU and host, KV cache on GPU and host, activations on GPU and host: 20,80,0,100,0,100");
  }
  const auto tiers = [&](std::size_t i) {
    const double disk = 1 - n[i] - n[i + 1];
    return TierShares{n[i + 1], std::abs(disk) < 1e-9 ? 0 : disk};
  };
  OffloadPolicy p;
  p.weights = tiers(0), p.kv = tiers(2), p.activations = tiers(4);
  check_policy(p);
  return p;
}

OffloadPolicy parse_offload_config(std::string_view json) {
  const Json parsed = Json::parse(json, nullptr, false);
  if (parsed.is_discarded()) refuse(fmt::format("offload_config is not JSON: {}", json), {});
  auto p = read_block<OffloadPolicy>(parsed, "offload_config");
  check_policy(p);
  return p;
}

Offload choose_offload(const Scenario& s, const ModelSpec& model, const LoweringContext& ctx,
                       const Topology& topology) {
  const OffloadSettings& given = s.offloading;
  Offload o;
  if (!given.percent.empty() && !given.config.empty())
    refuse("percent and offload_config both place tensors", "one of them");
  if (!given.percent.empty()) o.policy = parse_percent(given.percent);
  if (!given.config.empty()) o.policy = parse_offload_config(given.config);
  move_weights(given.cpu_offload_gb, model, ctx, o.policy);
  if (given.n_gpu_layers) split_layers(*given.n_gpu_layers, model, o.policy);
  if (o.policy.none()) return {};
  check_split(o.policy, model, ctx.shard);
  const std::string host = given.host.empty() ? topology.host : given.host;
  if (host.empty())
    refuse(fmt::format("offloading: the host of {} is not known", topology.name), "--offload-host");
  o.host = load_host(host);
  const OffloadPolicy& p = o.policy;
  if (p.weights.disk + p.kv.disk + p.activations.disk > 0 && o.host.disk_bytes == 0)
    refuse(fmt::format("a share lies on disk, and {} has none", o.host.name), "--offload-host");
  return o;
}

void fit_host(const Offload& o, const ModelSpec& model, const LoweringContext& ctx, Tokens max_model_len,
              KvCapacity& kv) {
  const OffloadPolicy& p = o.policy;
  if (p.none()) return;
  const double gpus = ctx.shard.gpus();
  const ModelSpec on_gpu = without_first(model, p.host_layers);
  const double layers = gpus * layer_weight_bytes(on_gpu, ctx);
  const double cold = p.neurons.hot < 1 ? (1 - p.neurons.hot) * dense_weight_bytes(on_gpu, ctx) : 0;
  const double weights =
      layers * p.weights.host + gpus * (cold + model.weight_bytes(ctx) - on_gpu.weight_bytes(ctx));
  if (weights > o.host.memory_bytes) refuse_host(o, "weights", weights, o.host.memory_bytes);
  if (layers * p.weights.disk > o.host.disk_bytes)
    refuse_host(o, "weights on disk", layers * p.weights.disk, o.host.disk_bytes);
  const auto limit = [&](double room, double share) {
    const double each = gpus * kv.moved_block_bytes * share;
    if (each > 0) kv.blocks = std::min(kv.blocks, static_cast<std::int64_t>(std::floor(room / each)));
  };
  const double on_disk = p.kv.away() > 0 ? p.kv.disk / p.kv.away() : 0;
  limit((o.host.memory_bytes - weights) * p.host_nodes, 1 - on_disk);
  limit(o.host.disk_bytes - layers * p.weights.disk, on_disk);
  if (kv.longest(max_model_len) >= max_model_len) return;
  const double one = gpus * kv.moved_block_bytes * static_cast<double>(max_model_len) / kv.block_size;
  refuse_host(o,
              fmt::format("the keys and values of one sequence of {} tokens, beside {:.1f} GiB of weights,",
                          max_model_len, weights / kGiB),
              one, o.host.memory_bytes - weights);
}

std::string describe(const Offload& o) {
  const OffloadPolicy& p = o.policy;
  if (p.none()) return "";
  std::string out;
  const auto say = [&](const std::string& text) { out += (out.empty() ? "" : "; ") + text; };
  const auto share = [&](const char* what, const TierShares& t) {
    if (t.host > 0) say(fmt::format("{} {:.0f} % in host memory", what, 100 * t.host));
    if (t.disk > 0) say(fmt::format("{} {:.0f} % on disk", what, 100 * t.disk));
  };
  share("weights", p.weights), share("KV cache", p.kv), share("activations", p.activations);
  if (p.host_layers > 0) say(fmt::format("first {} layers computed by the host", p.host_layers));
  if (!p.neurons.none())
    say(fmt::format("{:.0f} % of the neurons on the GPU, {:.0f} % of them all activated by a token",
                    100 * p.neurons.hot, 100 * p.neurons.activated));
  if (p.host_attention)
    say(fmt::format("attention over it by {} host{}", p.host_nodes, p.host_nodes > 1 ? "s" : ""));
  if (p.weights.away() + p.kv.away() + p.activations.away() > 0)
    say(p.overlap ? "moved while others compute" : "nothing overlaps");
  return out + fmt::format(" ({})", o.host.name);
}

}  // namespace orrery
