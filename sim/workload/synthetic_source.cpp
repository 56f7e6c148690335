#include "workload/synthetic_source.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "workload/arrival_process.hpp"
#include "workload/length_distribution.hpp"

namespace orrery {
namespace {

constexpr std::int64_t kDefaultPrompts = 1000;  // vLLM's --num-prompts
constexpr double kLatestPs = 9.2e18;

/// The prompts of all (group, user) pairs as prefix keys. Blocks that lie wholly in the system prompt are the
/// group's, the rest the user's.
class SharedPrompts {
 public:
  explicit SharedPrompts(const SharedPrefixSpec& spec) : tokens_(spec.system_tokens + spec.question_tokens) {
    const auto blocks = (tokens_ + spec.block_tokens - 1) / spec.block_tokens;
    const auto common = spec.system_tokens / spec.block_tokens;
    for (int user = 0; user < spec.users; ++user) {
      for (int group = 0; group < spec.groups; ++group) {
        auto keys = std::make_shared<PrefixKeys>();
        keys->block_tokens = spec.block_tokens;
        for (std::int32_t b = 0; b < blocks; ++b) keys->ids.push_back(id(group, b < common ? -1 : user, b));
        prompts_.push_back(std::move(keys));
      }
    }
  }
  std::int32_t tokens() const { return tokens_; }
  void fill(Request& request) const {
    const auto pair = static_cast<std::size_t>(request.id) % prompts_.size();
    request.client = static_cast<std::int32_t>(pair);
    request.prefix = prompts_[pair];
  }

 private:
  /// Distinct for distinct arguments: 20 bits for each (checked by make_synthetic_source).
  static std::uint64_t id(int group, int user, std::int32_t block) {
    return static_cast<std::uint64_t>(group) << 40 | static_cast<std::uint64_t>(user + 1) << 20 |
           static_cast<std::uint64_t>(block);
  }

  std::int32_t tokens_;
  std::vector<std::shared_ptr<const PrefixKeys>> prompts_;
};

void check_prefix(const SharedPrefixSpec& p) {
  constexpr int most = 1 << 20;
  if (p.groups < 0 || p.groups >= most || p.users < 1 || p.users >= most - 1) {
    throw ConfigError(
        fmt::format("shared prefixes of {} groups and {} users: expected 1 to 1,000,000", p.groups, p.users));
  }
  if (p.system_tokens < 0 || p.question_tokens < 0 || p.block_tokens < 1 || p.system_tokens >= most ||
      p.question_tokens >= most || p.system_tokens + p.question_tokens < 1) {
    throw ConfigError(
        fmt::format("shared prefixes of {} system and {} question tokens in blocks of {}: expected a prompt "
                    "of 1 to 1,000,000 tokens and blocks of at least 1",
                    p.system_tokens, p.question_tokens, p.block_tokens));
  }
}

LengthSpec vllm_lengths(const LengthSpec& own, std::int32_t length, const WorkloadSpec& spec) {
  if (!own.distribution.empty()) return own;
  LengthSpec out;
  out.distribution = "uniform";
  out.mean = length;
  out.ratio = spec.random_range_ratio;
  out.range = spec.range_meaning;
  return out;
}

double mean_stage_rate(const std::vector<RateStage>& stages) {
  double requests = 0, seconds = 0;
  for (const auto& s : stages) requests += s.rate * s.duration_s, seconds += s.duration_s;
  return requests / seconds;
}

class SyntheticSource : public RequestSource {
 public:
  SyntheticSource(const WorkloadSpec& spec, std::uint64_t seed)
      : input_(make_lengths(vllm_lengths(spec.input, spec.random_input_len, spec), LengthRole::input, seed)),
        output_(
            make_lengths(vllm_lengths(spec.output, spec.random_output_len, spec), LengthRole::output, seed)),
        builtin_(spec.trace),
        scale_(kPsPerSecond / spec.rate_scale) {
    if (spec.prefix.groups > 0) prompts_.emplace(spec.prefix);
    const bool staged = !spec.arrivals.stages.empty();
    double rate = spec.request_rate;
    if (spec.target_rps > 0 && !staged) rate = spec.target_rps;
    arrivals_ = make_arrivals(spec.arrivals, rate, seed);
    if (spec.target_rps > 0 && staged) scale_ *= mean_stage_rate(spec.arrivals.stages) / spec.target_rps;
    latest_ps_ = spec.duration_s > 0 ? std::min(spec.duration_s * kPsPerSecond, kLatestPs) : kLatestPs;
    const bool bounded = staged || (spec.duration_s > 0 && std::isfinite(rate));
    left_ = spec.num_prompts > 0 ? spec.num_prompts : bounded ? kUnknown : kDefaultPrompts;
  }

  bool next(Request& out) override {
    if (left_ == 0) return false;
    const double ps = arrivals_->next() * scale_;
    if (!(ps < latest_ps_)) {
      left_ = 0;
      return false;
    }
    if (left_ > 0) --left_;
    out = Request{};
    out.id = given_++;
    out.arrival = Ps(std::llround(ps));
    out.prompt_tokens = input_->next();
    out.output_tokens = output_->next();
    if (prompts_) {
      out.prompt_tokens = prompts_->tokens();
      prompts_->fill(out);
    }
    return true;
  }
  std::int64_t total() const override { return left_; }
  std::vector<std::string> notes() const override {
    if (builtin_.empty()) return {};
    return {builtin_ + ": drawn from published quantiles, not the trace itself"};
  }

 private:
  static constexpr std::int64_t kUnknown = -1;

  LengthDistributionPtr input_, output_;
  ArrivalProcessPtr arrivals_;
  std::optional<SharedPrompts> prompts_;
  std::string builtin_;
  double scale_, latest_ps_ = 0;
  std::int64_t left_ = 0, given_ = 0;
};

}  // namespace

RequestSourcePtr make_synthetic_source(const WorkloadSpec& spec, std::uint64_t seed) {
  if (spec.prefix.groups != 0) check_prefix(spec.prefix);
  if (spec.sessions.turns > 0) {
    return make_session_generator(
        spec, make_lengths(vllm_lengths(spec.input, spec.random_input_len, spec), LengthRole::input, seed),
        make_lengths(vllm_lengths(spec.output, spec.random_output_len, spec), LengthRole::output, seed),
        seed);
  }
  return std::make_unique<SyntheticSource>(spec, seed);
}

}  // namespace orrery
