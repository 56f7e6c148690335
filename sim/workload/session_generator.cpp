// Conversations, agents that wait for tools, and trees of thoughts: requests that go on from each other's
// answers.
#include <algorithm>
#include <cmath>
#include <functional>
#include <queue>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "base/rng.hpp"
#include "workload/arrival_process.hpp"
#include "workload/length_distribution.hpp"
#include "workload/synthetic_source.hpp"

namespace orrery {
namespace {

/// A text so far: its tokens and the ids of its blocks, the last of which may be partial.
struct Text {
  std::int32_t tokens = 0;
  std::vector<std::uint64_t> ids;
};

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = (a + 1) * 0x9E3779B97F4A7C15ULL ^ (b + 1) * 0xC2B2AE3D27D4EB4FULL;
  x ^= x >> 31;
  x *= 0x94D049BB133111EBULL;
  return (x ^ x >> 29) >> 1;  // the top bit is the KV cache's own
}

/// `text` and `more` tokens that `writer` adds. A block is known by who wrote its last token.
Text grown(const Text& text, std::int32_t more, std::uint64_t writer, std::int32_t block_tokens) {
  Text out{text.tokens + more, text.ids};
  out.ids.resize(static_cast<std::size_t>(text.tokens / block_tokens));
  const auto blocks = static_cast<std::size_t>((out.tokens + block_tokens - 1) / block_tokens);
  while (out.ids.size() < blocks) out.ids.push_back(mix(writer, out.ids.size()));
  return out;
}

class SessionGenerator final : public RequestSource {
 public:
  SessionGenerator(const WorkloadSpec& spec, LengthDistributionPtr input, LengthDistributionPtr output,
                   std::uint64_t seed)
      : sessions_(spec.sessions),
        input_(std::move(input)),
        output_(std::move(output)),
        arrivals_(make_arrivals(spec.arrivals, spec.request_rate, seed)),
        scale_(1 / spec.rate_scale),
        delay_s_(spec.client_delay_s),
        think_mean_s_(spec.think_time_s),
        think_cv_(spec.think_time_cv),
        think_(seed, "sessions.think") {
    if (sessions_.block_tokens == 0) sessions_.block_tokens = 16;
    if (spec.duration_s > 0 && spec.duration_s < 9e6) latest_ = to_ps(Seconds(spec.duration_s));
    const std::int64_t asked = spec.num_prompts > 0 ? spec.num_prompts : kDefaultPrompts;
    to_start_ = std::max<std::int64_t>(1, asked / sessions_.requests());
    left_ = to_start_ * sessions_.requests();
    draw_start();
  }

  bool next(Request& out) override {
    if (to_start_ > 0 && (ready_.empty() || start_ <= ready_.top().at)) start_session();
    if (ready_.empty()) return false;
    const Call call = ready_.top();
    if (call.at >= latest_) return false;
    ready_.pop();
    --left_;
    out = Request{};
    out.id = given_++, out.arrival = call.at, out.client = out.session = call.session, out.turn = call.level;
    out.prompt_tokens = call.prompt->tokens, out.output_tokens = output_->next();
    const auto writer = mix(kAnswers, static_cast<std::uint64_t>(out.id));
    const Text all = grown(*call.prompt, out.output_tokens, writer, sessions_.block_tokens);
    auto keys = std::make_shared<PrefixKeys>();
    keys->ids = all.ids, keys->block_tokens = sessions_.block_tokens, keys->answer = true;
    out.prefix = std::move(keys);
    return true;
  }

  /// Its answer's end, and what it sets off.
  void completed(const Request& request, Ps now) override {
    if (request.turn + 1 >= sessions_.turns) return;
    const Text text{request.prompt_tokens + request.output_tokens, request.prefix->ids};
    const std::int32_t more = sessions_.follow_up < 0 ? input_->next() : sessions_.follow_up;
    const auto writer = mix(kQuestions, static_cast<std::uint64_t>(request.id));
    ask(grown(text, more, writer, sessions_.block_tokens), request.session, request.turn + 1,
        now + to_ps(Seconds(delay_s_ + think())));
  }

  bool closed_loop() const override { return true; }
  std::int64_t total() const override { return left_; }
  std::vector<std::string> notes() const override {
    return {fmt::format("sessions: {} requests each, later ones sent after the answer they go on from",
                        sessions_.requests())};
  }

 private:
  static constexpr std::int64_t kDefaultPrompts = 1000;
  static constexpr std::uint64_t kSystem = 1, kQuestions = 2, kAnswers = 3, kSessions = 4;

  struct Call {
    Ps at{0};
    std::int64_t number = 0;
    std::int32_t session = 0, level = 0;
    std::shared_ptr<const Text> prompt;
    bool operator>(const Call& o) const { return at != o.at ? at > o.at : number > o.number; }
  };

  void draw_start() {
    const double s = arrivals_->next() * scale_;
    start_ = s < 9e6 ? to_ps(Seconds(s)) : kNever;
    if (start_ >= latest_) to_start_ = 0;
  }
  void start_session() {
    const auto session = static_cast<std::int32_t>(started_++);
    --to_start_;
    const Text system = grown({}, sessions_.system_tokens, kSystem, sessions_.block_tokens);
    const auto writer = mix(kSessions, static_cast<std::uint64_t>(session));
    ask(grown(system, input_->next(), writer, sessions_.block_tokens), session, 0, start_);
    draw_start();
  }
  /// Sends one prompt as often as there are branches.
  void ask(Text prompt, std::int32_t session, std::int32_t level, Ps at) {
    const auto shared = std::make_shared<const Text>(std::move(prompt));
    for (std::int32_t i = 0; i < sessions_.branches; ++i)
      ready_.push({at, number_++, session, level, shared});
  }
  double think() {
    if (think_mean_s_ == 0 || think_cv_ == 0) return think_mean_s_;
    const double shape = 1 / (think_cv_ * think_cv_);
    return think_.gamma(shape, think_mean_s_ / shape);
  }

  SessionSpec sessions_;
  LengthDistributionPtr input_, output_;
  ArrivalProcessPtr arrivals_;
  double scale_, delay_s_, think_mean_s_, think_cv_;
  Rng think_;
  Ps start_{0}, latest_ = kNever;
  std::int64_t to_start_ = 0, started_ = 0, given_ = 0, left_ = 0, number_ = 0;
  std::priority_queue<Call, std::vector<Call>, std::greater<>> ready_;
};

void check(const SessionSpec& s) {
  constexpr std::int32_t most = 1 << 20;
  if (s.turns > 1000 || s.branches < 1 || s.requests() > most || s.system_tokens < 0 ||
      s.system_tokens > most || s.follow_up < -1 || s.follow_up > most || s.block_tokens < 0) {
    throw ConfigError(
        fmt::format("sessions of {} turns in {} branches, a system prompt of {} and follow-ups of {} tokens: "
                    "expected 1 to 1,000 turns, at most 1,000,000 requests a session and tokens",
                    s.turns, s.branches, s.system_tokens, s.follow_up));
  }
}

}  // namespace

std::int64_t SessionSpec::requests() const {
  constexpr std::int64_t enough = 1 << 30;
  std::int64_t all = 0, level = 1;
  for (std::int32_t i = 0; i < turns && all < enough; ++i) all += level = std::min(level * branches, enough);
  return all;
}

RequestSourcePtr make_session_generator(const WorkloadSpec& spec, LengthDistributionPtr input,
                                        LengthDistributionPtr output, std::uint64_t seed) {
  check(spec.sessions);
  if (spec.images_per_request > 0)
    throw ConfigError("sessions with images in every prompt are not modelled", "no --images-per-request",
                      ExitCode::usage);
  if (spec.target_rps > 0) {
    throw ConfigError("sessions wait for answers: they cannot be given a target rate",
                      "--request-rate says how many sessions start in a second", ExitCode::usage);
  }
  return std::make_unique<SessionGenerator>(spec, std::move(input), std::move(output), seed);
}

}  // namespace orrery
