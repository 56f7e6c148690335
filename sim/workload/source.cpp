#include "workload/source.hpp"

#include <cmath>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/mix.hpp"
#include "workload/request_list.hpp"
#include "workload/synthetic_source.hpp"
#include "workload/trace_source.hpp"

namespace orrery {
namespace {

void require(bool good, const char* field, double value, const char* expected) {
  if (!good) {
    throw ConfigError(fmt::format("{}: expected {}, found {}", field, expected, value), {}, ExitCode::usage);
  }
}

void check(const WorkloadSpec& s) {
  const auto wait = [](double v) { return v >= 0 && v <= 1e6; };
  const auto not_negative = [](double v) { return v >= 0 && std::isfinite(v); };
  require(s.rate_scale > 0 && std::isfinite(s.rate_scale), "rate-scale", s.rate_scale, "a positive number");
  require(not_negative(s.target_rps), "target-rps", s.target_rps, "a positive number of requests/s");
  require(not_negative(s.duration_s), "duration", s.duration_s, "a positive number of seconds");
  require(s.num_prompts >= 0, "num-prompts", double(s.num_prompts), "a positive integer");
  require(s.loop >= 1, "loop", double(s.loop), "a positive integer");
  require(s.request_rate > 0, "request-rate", s.request_rate, "a positive number of requests/s or inf");
  require(s.burstiness > 0 && std::isfinite(s.burstiness), "burstiness", s.burstiness, "a positive number");
  require(s.max_concurrency >= 0, "max-concurrency", double(s.max_concurrency), "a positive integer");
  require(s.images_per_request >= 0, "images-per-request", s.images_per_request, "0 or more");
  require(wait(s.client_delay_s), "client delay", s.client_delay_s, "0 to 1,000,000 seconds");
  require(wait(s.think_time_s), "think time", s.think_time_s, "0 to 1,000,000 seconds");
  require(s.think_time_cv >= 0 && s.think_time_cv <= 100, "think time CV", s.think_time_cv,
          "a number from 0 to 100");
  require(s.read.default_output_len >= 1, "default output length", s.read.default_output_len,
          "a positive integer");
  require(s.read.chars_per_token > 0 && std::isfinite(s.read.chars_per_token), "characters per token",
          s.read.chars_per_token, "a positive number");
}

template <class Enum>
Enum parse_name(const std::string& what, const std::string& text, const std::vector<std::string>& names) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == text) return static_cast<Enum>(i);
  }
  throw ConfigError("unknown " + what + " '" + text + "'", suggestion(text, names), ExitCode::usage);
}

/// Puts images in front of each prompt.
class WithImages final : public RequestSource {
 public:
  WithImages(RequestSourcePtr text, std::int32_t images, std::int32_t tokens_each)
      : text_(std::move(text)), images_(images), tokens_(std::int64_t{images} * tokens_each) {}
  bool next(Request& out) override {
    if (!text_->next(out)) return false;
    out.images = images_;
    const std::int64_t tokens = out.prompt_tokens + tokens_;
    constexpr auto most = std::numeric_limits<std::int32_t>::max();
    require(tokens <= most, "images-per-request", double(images_), "prompts below 2,147,483,648 tokens");
    out.prompt_tokens = static_cast<std::int32_t>(tokens);
    out.prefix = nullptr;  // what repeats begins behind the images, which do not
    return true;
  }
  void completed(const Request& request, Ps now) override { text_->completed(request, now); }
  bool closed_loop() const override { return text_->closed_loop(); }
  std::int64_t total() const override { return text_->total(); }
  std::vector<std::string> notes() const override { return text_->notes(); }

 private:
  RequestSourcePtr text_;
  std::int32_t images_;
  std::int64_t tokens_;
};

/// Makes the prefixes of each client its own.
class IsolatedClients final : public RequestSource {
 public:
  explicit IsolatedClients(RequestSourcePtr all) : all_(std::move(all)) {}
  bool next(Request& out) override {
    if (!all_->next(out)) return false;
    if (!out.prefix) return true;
    auto own = std::make_shared<PrefixKeys>(*out.prefix);
    const std::uint64_t salt = mix(static_cast<std::uint64_t>(std::int64_t{out.client}));
    for (std::uint64_t& id : own->ids) id = mix(id ^ salt);
    out.prefix = std::move(own);
    return true;
  }
  void completed(const Request& request, Ps now) override { all_->completed(request, now); }
  bool closed_loop() const override { return all_->closed_loop(); }
  std::int64_t total() const override { return all_->total(); }
  std::vector<std::string> notes() const override { return all_->notes(); }

 private:
  RequestSourcePtr all_;
};

}  // namespace

OnBadRow parse_on_bad_row(const std::string& text) {
  return parse_name<OnBadRow>("way to treat bad rows", text, {"fail", "skip"});
}
SpreadTies parse_spread_ties(const std::string& text) {
  return parse_name<SpreadTies>("way to spread ties", text, {"none", "uniform", "poisson"});
}
RangeMeaning parse_range_meaning(const std::string& text) {
  return parse_name<RangeMeaning>("meaning of the range ratio", text, {"below", "around"});
}

RequestSourcePtr make_source(const WorkloadSpec& asked, std::uint64_t seed) {
  check(asked);
  WorkloadSpec spec = asked;
  constexpr std::string_view builtin = "builtin:";
  const bool is_builtin = spec.trace.rfind(builtin, 0) == 0;
  if (is_builtin) spec = builtin_workload(spec.trace.substr(builtin.size()), spec);
  if (spec.burstiness != 1 && spec.arrivals.process == "poisson") spec.arrivals.process = "gamma";
  if (spec.burstiness != 1) spec.arrivals.burstiness = spec.burstiness;

  RequestSourcePtr source;
  if (spec.list) {
    source = make_list_source(spec, seed);
  } else if (spec.trace.empty() || is_builtin) {
    source = make_synthetic_source(spec, seed);
  } else {
    source = make_trace_source(spec, ByteSource::file(spec.trace), seed);
  }
  if (spec.images_per_request > 0) {
    source = std::make_unique<WithImages>(std::move(source), spec.images_per_request, spec.image_tokens);
  }
  if (spec.isolate_clients) source = std::make_unique<IsolatedClients>(std::move(source));
  if (spec.max_concurrency > 0) source = limit_concurrency(std::move(source), spec, seed);
  return source;
}

}  // namespace orrery
