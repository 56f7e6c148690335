#include "serving/decoder.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/error.hpp"
#include "base/rng.hpp"

namespace orrery {

namespace {
constexpr std::array<std::string_view, 6> kMethods{"none", "ngram", "draft_model", "eagle", "eagle3", "mtp"};
constexpr int kMostTokens = 64;
constexpr double kPaceError = 1e-3;

[[noreturn]] void refuse(const char* field, const std::string& why, const std::string& hint) {
  throw ConfigError(std::string("speculative_config: ") + field + " " + why, hint);
}

void check(const DecoderParams& p) {
  const int gamma = p.num_speculative_tokens;
  if (gamma < 0 || gamma > kMostTokens) {
    refuse("num_speculative_tokens", "is " + std::to_string(gamma), "0 (off) to 64");
  }
  if (gamma == 0) return;
  if (p.method == DraftMethod::none) {
    refuse("method", "is missing", "one of ngram, draft_model, eagle, eagle3, mtp");
  }
  const auto given = static_cast<int>(p.acceptance.size());
  if (given != 1 && given != gamma) {
    refuse("acceptance",
           "has " + std::to_string(given) + " values for " + std::to_string(gamma) + " drafted tokens",
           "one probability, or one for each drafted token");
  }
  double before = 1;
  for (const double a : p.acceptance) {
    if (!(a >= 0 && a <= 1))
      refuse("acceptance", "holds " + std::to_string(a), "probabilities lie in [0, 1]");
    if (a > before) {
      refuse("acceptance", "rises from " + std::to_string(before) + " to " + std::to_string(a),
             "a drafted token is kept only when those before it are: give the share of steps that keep the "
             "i-th");
    }
    before = a;
  }
}
}  // namespace

std::span<const std::string_view> enum_names(DraftMethod) {
  return kMethods;
}

double acceptance_of(std::span<const double> target, std::span<const double> draft) {
  ORRERY_CHECK(target.size() == draft.size(), "two distributions over one vocabulary");
  double sum = 0;
  for (std::size_t i = 0; i < target.size(); ++i) sum += std::min(target[i], draft[i]);
  return sum;
}

bool drafts_on_device(DraftMethod method) {
  return method != DraftMethod::none && method != DraftMethod::ngram;
}

Decoder::Decoder(DecoderParams params) : params_(std::move(params)) {
  check(params_);
  const auto gamma = static_cast<std::size_t>(params_.num_speculative_tokens);
  if (params_.acceptance.size() == gamma) {
    kept_ = params_.acceptance;
    return;
  }
  double kept = 1;
  for (std::size_t i = 0; i < gamma; ++i) kept_.push_back(kept *= params_.acceptance.front());
}

double Decoder::tokens_per_step() const {
  double sum = 1;
  for (const double kept : kept_) sum += kept;
  return sum;
}

double Decoder::speedup(double c) const {
  return tokens_per_step() / (static_cast<double>(params_.num_speculative_tokens) * c + 1);
}

TokenPace Decoder::pace() const {
  return sampled() ? TokenPace{0, 1} : simplest_pace(tokens_per_step(), kPaceError);
}

Tokens Decoder::draw(std::uint64_t seed, std::int64_t request, Tokens generated) const {
  const auto place =
      static_cast<std::uint64_t>(request) * 0x9E3779B97F4A7C15u + static_cast<std::uint64_t>(generated);
  const double u = Rng(seed ^ place * 0xD1342543DE82EF95u, "accepted").uniform();
  Tokens tokens = 1;
  for (const double kept : kept_) tokens += u < kept ? 1 : 0;
  return tokens;
}

Tokens Decoder::lookahead() const {
  const Tokens gamma = params_.num_speculative_tokens;
  return drafts_on_device(params_.method) ? 2 * gamma : gamma;
}

TokenPace simplest_pace(double value, double error) {
  for (std::int64_t steps = 1;; ++steps) {
    const auto tokens = std::llround(value * static_cast<double>(steps));
    if (std::abs(static_cast<double>(tokens) / static_cast<double>(steps) / value - 1) <= error)
      return {tokens, steps};
  }
}

}  // namespace orrery
