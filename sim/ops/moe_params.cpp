#include <array>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/error.hpp"
#include "ops/moe_layer.hpp"

namespace orrery {

std::span<const std::string_view> enum_names(ExpertRouter) {
  static constexpr std::array<std::string_view, 5> names{"token", "expert", "hash", "soft", "product_key"};
  return names;
}
std::span<const std::string_view> enum_names(LoadShape) {
  static constexpr std::array<std::string_view, 3> names{"uniform", "zipf", "histogram"};
  return names;
}
std::span<const std::string_view> enum_names(ExpertProducts) {
  static constexpr std::array<std::string_view, 3> names{"grouped", "padded", "looped"};
  return names;
}

double MoeParams::mean_choices() const {
  if (active_shares.empty()) return active;
  double mean = 0;
  for (std::size_t k = 0; k < active_shares.size(); ++k) mean += static_cast<double>(k) * active_shares[k];
  return mean;
}

double MoeParams::idle_share() const {
  if (zero_experts == 0) return 0;
  return zero_share.value_or(static_cast<double>(zero_experts) / choices());
}

namespace {

template <class T>
void require(bool holds, std::string_view field, const T& value, std::string_view valid) {
  if (!holds) throw ConfigError(fmt::format("moe.{} is {}; valid: {}", field, value, valid));
}

void check_choice(const MoeParams& p) {
  require(p.zero_experts >= 0, "zero_experts", p.zero_experts, "0 or more");
  const auto most = p.choices();
  if (p.active_shares.empty()) {
    require(p.active >= 1, "active", p.active, "1 or more experts per token");
    require(p.active <= most, "active", p.active, fmt::format("at most the {} experts there are", most));
  } else {
    const auto counts = static_cast<int>(p.active_shares.size());
    require(counts - 1 <= most, "active_shares", fmt::format("up to {} experts", counts - 1),
            fmt::format("at most the {} experts there are", most));
    const double sum = std::accumulate(p.active_shares.begin(), p.active_shares.end(), 0.0);
    require(std::abs(sum - 1) < 1e-9, "active_shares", fmt::format("of sum {}", sum), "shares that sum to 1");
    for (const double share : p.active_shares) require(share >= 0, "active_shares", share, "0 to 1");
  }
  if (p.zero_share) {
    require(p.zero_experts > 0, "zero_share", *p.zero_share, "unset without zero_experts");
    require(*p.zero_share >= 0 && *p.zero_share < 1, "zero_share", *p.zero_share, "0 to below 1");
  }
  require(p.mean_active() <= p.experts, "zero_experts", p.zero_experts,
          "so many that the experts which compute can serve the others' choices");
}

void check_groups(const MoeParams& p) {
  require(p.groups >= 1 && p.experts % p.groups == 0, "groups", p.groups,
          fmt::format("a divisor of the {} experts", p.experts));
  require(p.topk_groups >= 1 && p.topk_groups <= p.groups, "topk_groups", p.topk_groups,
          fmt::format("1 to the {} groups there are", p.groups));
  const int reachable = p.experts / p.groups * p.topk_groups;
  require(p.mean_active() <= static_cast<double>(reachable), "topk_groups", p.topk_groups,
          fmt::format("groups with {} experts together, or more", p.mean_active()));
}

void check_load(const MoeParams& p) {
  require(p.capacity_factor >= 0, "capacity_factor", p.capacity_factor, "0 (no limit) or more");
  require(std::isfinite(p.load.exponent) && p.load.exponent >= 0, "load.exponent", p.load.exponent,
          "0 or more");
  if (p.load.shape != LoadShape::histogram) return;
  const auto& histogram = p.load.histogram;
  require(histogram.size() == static_cast<std::size_t>(p.experts), "load.histogram",
          fmt::format("of {} entries", histogram.size()),
          fmt::format("one for each of {} experts", p.experts));
  int chosen = 0;
  for (const double count : histogram) {
    require(std::isfinite(count) && count >= 0, "load.histogram", count, "counts of 0 or more");
    chosen += count > 0 ? 1 : 0;
  }
  require(chosen >= p.mean_active(), "load.histogram", fmt::format("with {} experts above 0", chosen),
          "as many as a token chooses, or more");
}

}  // namespace

void MoeParams::check() const {
  require(experts >= 0, "experts", experts, "0 or more");
  require(shared_experts >= 0, "shared_experts", shared_experts, "0 or more");
  if (shared_experts > 0) require(shared_width >= 1, "shared_width", shared_width, "1 or more");
  require(latent >= 0, "latent", latent, "0 (the hidden width) or more");
  if (experts == 0) {
    require(zero_experts == 0, "zero_experts", zero_experts, "0 without experts");
    return;
  }
  require(lora_rank >= 0, "lora_rank", lora_rank, "0 (whole experts) or more");
  if (lora_rank > 0) {
    require(shared_experts > 0, "lora_rank", lora_rank, "0 without shared experts that the adapters are of");
  } else if (router != ExpertRouter::product_key) {
    require(width >= 1, "width", width, "1 or more");
  }
  check_choice(*this);
  check_groups(*this);
  check_load(*this);
  if (router == ExpertRouter::soft) require(slots >= 1, "slots", slots, "1 or more");
  if (router == ExpertRouter::product_key) {
    const auto root = std::llround(std::sqrt(static_cast<double>(experts)));
    require(root * root == experts, "experts", experts, "a square, for two halves of keys");
    require(query_heads >= 1, "query_heads", query_heads, "1 or more");
    require(key_width >= 2 && key_width % 2 == 0, "key_width", key_width, "an even width of 2 or more");
  }
}

void check_split(const MoeParams& params, const Shard& shard, const ExpertPlan& plan) {
  if (!params.routed()) return;
  const int ranks = shard.tp * shard.dp;
  if (shard.ep < 1 || ranks % shard.ep != 0) {
    throw ConfigError(fmt::format("ep is {}, which does not divide the {} ranks of tp x dp", shard.ep, ranks),
                      "valid: 1 (each expert divided over all ranks) up to tp x dp");
  }
  if ((params.experts + plan.redundant) % shard.ep != 0) {
    throw ConfigError(fmt::format("{} experts{} do not divide over ep = {}", params.experts,
                                  plan.redundant > 0 ? fmt::format(" and {} copies", plan.redundant) : "",
                                  shard.ep));
  }
  const std::int64_t parts = ranks / shard.ep;
  if (params.lora_rank == 0 && params.router != ExpertRouter::product_key && params.width % parts != 0) {
    throw ConfigError(fmt::format("moe.width = {} does not divide over {} ranks", params.width, parts),
                      "raise ep: experts are then divided over ranks whole");
  }
}

}  // namespace orrery
