// Chain speculation as arithmetic: tokens a step, paces, draws.
#include "serving/decoder.hpp"

#include <cmath>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/rng.hpp"

using namespace orrery;

namespace {
Decoder chain(int gamma, std::vector<double> acceptance, bool sampled = false) {
  DecoderParams p;
  p.method = DraftMethod::eagle;
  p.num_speculative_tokens = gamma;
  p.acceptance = std::move(acceptance);
  p.sampled = sampled;
  return Decoder(p);
}
}  // namespace

TEST_CASE(
    "does a pace bring each sequence its tokens as evenly as whole tokens allow, forwards and backwards?") {
  for (const TokenPace pace :
       {TokenPace{1, 1, 0}, TokenPace{7, 2, 1}, TokenPace{48, 13, 0}, TokenPace{33, 32, 31}}) {
    Tokens sum = 0;
    TokenPace at = pace;
    for (std::int64_t s = 1; s <= 200; ++s) {
      const Tokens step = at.after(1);
      REQUIRE((step == pace.tokens / pace.steps || step == pace.tokens / pace.steps + 1));
      sum += step;
      at = at.advanced(1);
      REQUIRE(sum == pace.after(s));
      REQUIRE(at == pace.advanced(s));
      REQUIRE(at.advanced(-s) == pace);
      REQUIRE(at.after(-s) == -sum);
      // The inverse: the first step at which so many tokens have come, the last at which no more have.
      REQUIRE(pace.steps_to(sum) <= s);
      REQUIRE(pace.after(pace.steps_to(sum)) >= sum);
      REQUIRE(pace.after(pace.steps_to(sum) - 1) < sum);
      REQUIRE(pace.steps_within(sum) >= s);
      REQUIRE(pace.after(pace.steps_within(sum)) <= sum);
      REQUIRE(pace.after(pace.steps_within(sum) + 1) > sum);
    }
    CHECK(pace.after(200 * pace.steps) == 200 * pace.tokens);
  }
}

TEST_CASE("is plain decoding the identity, in tokens after steps and in the pace?") {
  for (const Decoder& plain : {Decoder(), chain(0, {}), chain(0, {0.9})}) {
    CHECK(plain.plain());
    CHECK(plain.queries() == 1);
    CHECK(plain.lookahead() == 0);
    CHECK(plain.tokens_per_step() == 1.0);
    CHECK(plain.pace() == TokenPace{});
    for (const std::int64_t steps : {0, 1, 17, 100000}) CHECK(plain.tokens_after(steps) == steps);
  }
}

TEST_CASE("does the pace keep to tau within one part in a thousand for any acceptance?") {
  Rng rng(3, "acceptance");
  for (int i = 0; i < 500; ++i) {
    const auto d = chain(static_cast<int>(rng.uniform_int(1, 12)), {rng.uniform()});
    const TokenPace pace = d.pace();
    REQUIRE(pace.tokens >= pace.steps);
    const double mean = static_cast<double>(pace.tokens) / static_cast<double>(pace.steps);
    REQUIRE(std::abs(mean / d.tokens_per_step() - 1) <= 1e-3);
  }
}

TEST_CASE(
    "are draws a function of the seed, the request and its progress, with the distribution asked for?") {
  const auto d = chain(4, {0.9, 0.7, 0.4, 0.1}, true);
  std::vector<double> at_least(6);
  const int n = 200000;
  for (int i = 0; i < n; ++i) {
    const Tokens tokens = d.draw(5, i % 997, i / 997);
    REQUIRE(tokens == d.draw(5, i % 997, i / 997));
    REQUIRE((tokens >= 1 && tokens <= 5));
    for (Tokens t = 1; t <= tokens; ++t) at_least[static_cast<std::size_t>(t)] += 1.0 / n;
  }
  for (int i = 1; i <= 4; ++i)
    CHECK(at_least[static_cast<std::size_t>(i) + 1] == Approx(d.kept(i)).margin(0.005));
  CHECK(d.pace().tokens == 0);
}

TEST_CASE("is speculation without sense refused by the field that is wrong?") {
  const auto refused = [](int gamma, std::vector<double> acceptance, const char* word) {
    CHECK_THROWS_WITH(chain(gamma, std::move(acceptance)), Catch::Contains(word));
  };
  refused(-1, {0.5}, "num_speculative_tokens is -1");
  refused(65, {0.5}, "num_speculative_tokens is 65");
  refused(3, {}, "acceptance has 0 values for 3");
  refused(3, {0.9, 0.8}, "acceptance has 2 values for 3");
  refused(2, {0.5, 0.6}, "rises");
  refused(2, {1.5}, "acceptance holds 1.5");
  refused(2, {std::nan("")}, "acceptance holds nan");
  DecoderParams nobody;
  nobody.num_speculative_tokens = 2, nobody.acceptance = {0.5};
  CHECK_THROWS_WITH(Decoder(nobody), Catch::Contains("method is missing"));
}
