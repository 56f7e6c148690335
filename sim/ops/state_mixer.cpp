#include "ops/state_mixer.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include <fmt/format.h>

#include "base/error.hpp"
#include "ops/recurrent.hpp"

namespace orrery {

std::span<const std::string_view> enum_names(StateRule) {
  static constexpr std::string_view names[] = {
      "additive", "scalar_decay", "vector_gate", "delta",          "gated_delta", "channel_gated_delta",
      "dplr",     "wkv4",         "wkv6",        "selective_scan", "ssd",         "elementwise",
      "serial",   "lti",          "slots",       "gradient",       "iterative",   "convolution"};
  return names;
}
std::span<const std::string_view> enum_names(StateAlgorithm) {
  static constexpr std::string_view names[] = {"automatic", "recurrent", "chunk", "scan", "fft"};
  return names;
}
std::span<const std::string_view> enum_names(FeatureMap) {
  static constexpr std::string_view names[] = {"none", "taylor", "taylor_packed", "doubled", "random"};
  return names;
}
std::span<const std::string_view> enum_names(OutputGate) {
  static constexpr std::string_view names[] = {"none", "product", "norm", "gated_norm"};
  return names;
}
std::span<const std::string_view> enum_names(StateRole) {
  static constexpr std::string_view names[] = {"in_proj",  "q_proj",   "r_proj",    "k_proj",     "v_proj",
                                               "map_proj", "mix_proj", "gate_proj", "decay_proj", "beta_proj",
                                               "x_proj",   "dt_proj",  "router",    "out_proj"};
  return names;
}
std::span<const std::string_view> enum_names(StateSplit) {
  static constexpr std::string_view names[] = {"columns", "rows", "replicated"};
  return names;
}

namespace {
/// Which of the sizes a rule lives on.
enum class Sizes { matrix, channels };
struct RuleTraits {
  Sizes sizes;
  StateAlgorithm automatic;
  bool square;  ///< key_dim = value_dim
};
RuleTraits traits(StateRule rule) {
  using A = StateAlgorithm;
  switch (rule) {
    case StateRule::wkv4:
    case StateRule::selective_scan:
    case StateRule::elementwise:
    case StateRule::convolution:
      return {Sizes::channels, A::scan, false};
    case StateRule::lti:
      return {Sizes::channels, A::fft, false};
    case StateRule::serial:
      return {Sizes::matrix, A::recurrent, true};
    case StateRule::wkv6:
    case StateRule::dplr:
      return {Sizes::matrix, A::scan, true};
    case StateRule::gradient:
      return {Sizes::matrix, A::chunk, true};
    default:
      return {Sizes::matrix, A::chunk, false};
  }
}

[[noreturn]] void refuse(const StateParams& p, std::string_view field, std::int64_t value,
                         const std::string& valid) {
  throw ConfigError(fmt::format("a state mixer of rule '{}' cannot have {} {}",
                                enum_names(p.rule)[static_cast<std::size_t>(p.rule)], field, value),
                    valid);
}
void at_least(const StateParams& p, std::string_view field, std::int64_t value, std::int64_t least) {
  if (value < least) refuse(p, field, value, fmt::format("{} is at least {}", field, least));
}

void check_sizes(const StateParams& p) {
  const RuleTraits t = traits(p.rule);
  if (t.sizes == Sizes::channels) {
    at_least(p, "channels", p.channels, 1);
    if (p.heads != 0) refuse(p, "heads", p.heads, "this rule has channels; leave heads out");
  } else {
    at_least(p, "heads", p.heads, 1);
    at_least(p, "key_dim", p.key_dim, 1);
    at_least(p, "value_dim", p.value_dim, 0);
    if (p.channels != 0) refuse(p, "channels", p.channels, "this rule has heads; leave channels out");
    if (p.key_heads < 0 || (p.key_heads > 0 && p.heads % p.key_heads != 0))
      refuse(p, "key_heads", p.key_heads, fmt::format("key_heads divides heads ({})", p.heads));
    if (t.square && p.value_dim != 0 && p.value_dim != p.key_dim)
      refuse(p, "value_dim", p.value_dim, fmt::format("this rule needs value_dim = key_dim ({})", p.key_dim));
  }
  if (p.rule == StateRule::selective_scan) at_least(p, "state", p.state, 1);
  if (p.rule == StateRule::convolution) at_least(p, "conv.width", p.conv.width, 1);
  if (p.rule == StateRule::slots) at_least(p, "slots", p.slots, 1);
  if (p.rule == StateRule::iterative) at_least(p, "iterations", p.iterations, 0);
  at_least(p, "features", p.features, p.feature_map == FeatureMap::random ? 1 : 0);
}

void check_counts(const StateParams& p) {
  at_least(p, "state", p.state, 0);
  at_least(p, "streams", p.streams, 1);
  at_least(p, "chunk", p.chunk, 1);
  at_least(p, "memories", p.memories, 1);
  at_least(p, "depth", p.depth, 1);
  at_least(p, "expansion", p.expansion, 1);
  at_least(p, "householder", p.householder, 1);
  at_least(p, "conv.width", p.conv.width, 0);
  at_least(p, "conv.channels", p.conv.channels, p.conv.width > 0 ? 1 : 0);
  at_least(p, "token_shift.mixes", p.token_shift.mixes, 0);
  at_least(p, "other_parameters", p.other_parameters, 0);
  if (p.active_memories < 1 || p.active_memories > p.memories)
    refuse(p, "active_memories", p.active_memories, fmt::format("1 to memories ({})", p.memories));
}

void check_algorithm(const StateParams& p) {
  const auto named = traits(p.rule).automatic;
  const auto a = p.prompt_algorithm();
  const bool scan_or_chunk = p.rule == StateRule::wkv6 && a == StateAlgorithm::chunk;
  const bool known = a == named || a == StateAlgorithm::recurrent || scan_or_chunk ||
                     (p.rule == StateRule::lti && a == StateAlgorithm::scan);
  const bool recurrence = p.rule != StateRule::lti || p.state > 0 || a == StateAlgorithm::fft;
  if (known && recurrence) return;
  const auto names = enum_names(a);
  throw ConfigError(
      fmt::format("rule '{}' cannot run by algorithm '{}'",
                  enum_names(p.rule)[static_cast<std::size_t>(p.rule)], names[static_cast<std::size_t>(a)]),
      recurrence ? fmt::format("automatic, recurrent or {}", names[static_cast<std::size_t>(named)])
                 : "a filter without states (state 0) runs by fft only");
}

void check_projections(const StateParams& p) {
  for (const auto& w : p.projections) {
    const auto role = enum_names(w.role)[static_cast<std::size_t>(w.role)];
    at_least(p, fmt::format("{}.in", role), w.in, 0);
    at_least(p, fmt::format("{}.out", role), w.out, 0);
    at_least(p, fmt::format("{}.rank", role), w.rank, 0);
    at_least(p, fmt::format("{}.blocks", role), w.blocks, 1);
    const std::int64_t divided = w.split == StateSplit::rows ? w.in : w.out;
    if (w.units < 0 || (w.units > 0 && divided % w.units != 0))
      refuse(p, fmt::format("{}.units", role), w.units, fmt::format("units divide the width {}", divided));
    const std::int64_t inner = w.rank > 0 ? w.rank : w.in;
    if (w.out % w.blocks != 0 || inner % w.blocks != 0)
      refuse(p, fmt::format("{}.blocks", role), w.blocks,
             fmt::format("blocks divide both sides ({} and {})", inner, w.out));
  }
}
}  // namespace

void StateParams::check() const {
  check_sizes(*this);
  check_counts(*this);
  check_algorithm(*this);
  check_projections(*this);
}

StateAlgorithm StateParams::prompt_algorithm() const {
  return algorithm == StateAlgorithm::automatic ? traits(rule).automatic : algorithm;
}

std::int64_t StateParams::feature_dim() const {
  switch (feature_map) {
    case FeatureMap::none:
      return key_dim;
    case FeatureMap::taylor:
      return 1 + key_dim + key_dim * key_dim;
    case FeatureMap::taylor_packed:
      return 1 + key_dim + key_dim * (key_dim + 1) / 2;
    case FeatureMap::doubled:
      return 2 * (features > 0 ? features : key_dim);
    case FeatureMap::random:
      return features;
  }
  return key_dim;
}

std::int64_t StateParams::width() const {
  return heads > 0 ? heads * (value_dim > 0 ? value_dim : key_dim) : channels;
}

namespace {
/// Numbers in one state of one head.
double head_elements(const StateParams& p) {
  const auto dk = static_cast<double>(p.feature_dim());
  const auto dv = static_cast<double>(p.value_dim > 0 ? p.value_dim : p.key_dim);
  const double normaliser = p.normaliser ? dk : 0;
  switch (p.rule) {
    case StateRule::slots:
      return static_cast<double>(p.slots) * (dk + dv);
    case StateRule::iterative:
      return dk * dk + dk * dv;
    case StateRule::serial:
      return 4 * dk;  // cell, normaliser, stabiliser and output, which the gates see
    case StateRule::gradient:
      return network_elements(dk, static_cast<double>(p.depth), static_cast<double>(p.expansion)) *
             (p.momentum ? 2 : 1);
    default:
      return dk * dv + normaliser;
  }
}
/// Numbers kept per channel.
double channel_elements(const StateParams& p) {
  if (p.rule == StateRule::convolution) return 0;
  if (p.rule == StateRule::wkv4) return 3;  // numerator, denominator, their exponent
  if (p.rule == StateRule::elementwise) return static_cast<double>(std::max<std::int64_t>(p.state, 1));
  return static_cast<double>(p.state);
}
}  // namespace

double state_elements(const StateParams& p, Tokens context, int ranks) {
  const auto units = static_cast<double>(UnitGroup{p.units()}.local_units(ranks));
  if (p.heads == 0) return units * channel_elements(p);
  // Levels: a state per bit set in the number of whole chunks, and that of the running chunk.
  const double live =
      p.levels ? 1.0 + std::popcount(static_cast<std::uint64_t>(std::max<Tokens>(context, 0) / p.chunk))
               : 1.0;
  return units * head_elements(p) * live * static_cast<double>(p.memories);
}

namespace {
/// Up the tree every node combines its two halves, down it every node but the first hands its sum to the half
/// on its right.
PromptSchedule parallel_scan(Tokens n) {
  PromptSchedule s;
  for (Tokens half = 1; 2 * half <= n; half *= 2) {
    const Tokens up = n / (2 * half), down = (n - half) / (2 * half);
    s.combinations += static_cast<double>(up + down);
    s.depth += 1 + (down > 0 ? 1 : 0);
  }
  return s;
}
}  // namespace

PromptSchedule prompt_schedule(const StateParams& p, Tokens n) {
  const auto tokens = static_cast<double>(n);
  const double chunks = std::ceil(tokens / static_cast<double>(p.chunk));
  switch (p.prompt_algorithm()) {
    case StateAlgorithm::chunk:
      return {chunks, chunks};
    case StateAlgorithm::scan:
      return parallel_scan(n);
    case StateAlgorithm::fft: {
      const double points = 2 * static_cast<double>(std::bit_ceil(static_cast<std::uint64_t>(n)));
      return {points * std::log2(points), 2 * std::log2(points)};
    }
    default:
      return {tokens, tokens};
  }
}

}  // namespace orrery
