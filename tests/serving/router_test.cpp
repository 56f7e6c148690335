#include "serving/router.hpp"

#include <map>

#include <catch2/catch.hpp>

using namespace orrery;

namespace {

/// Replicas whose caches hold a given number of a prompt's tokens.
struct Caches final : PrefixProbe {
  std::map<int, Tokens> held;
  Tokens cached_tokens(int replica, const Request&) const override {
    const auto it = held.find(replica);
    return it == held.end() ? 0 : it->second;
  }
};

std::unique_ptr<Router> make(const char* name, std::uint64_t seed = 0) {
  return Registry<Routers>::find(name).make(seed);
}

std::vector<ReplicaView> with_requests(std::vector<std::int64_t> counts) {
  std::vector<ReplicaView> views;
  for (const auto n : counts) views.push_back({n, n * 100, 1000});
  return views;
}

Request with_prefix() {
  Request r;
  r.prompt_tokens = 100;
  r.prefix = std::make_shared<PrefixKeys>(PrefixKeys{{1, 2}, 64});
  return r;
}

}  // namespace

TEST_CASE("are these the routers that can be named?") {
  CHECK(Registry<Routers>::names() == std::vector<std::string>{"least_requests", "least_tokens",
                                                               "power_of_two", "prefix_aware", "random",
                                                               "round_robin"});
}

TEST_CASE("does round robin go round, and least requests to the idlest, ties to the lowest index?") {
  const Caches caches;
  const auto views = with_requests({3, 1, 1});
  auto robin = make("round_robin");
  for (int i = 0; i < 7; ++i) CHECK(robin->route({}, views, caches) == i % 3);
  CHECK(make("least_requests")->route({}, views, caches) == 1);
}

TEST_CASE("does least tokens see what least requests does not?") {
  const Caches caches;
  auto views = with_requests({1, 2});
  views[0].outstanding_tokens = 50000, views[1].outstanding_tokens = 300;
  CHECK(make("least_tokens")->route({}, views, caches) == 1);
  CHECK(make("least_requests")->route({}, views, caches) == 0);
}

TEST_CASE("does the power of two choices never take the busiest, and spread as its seed says?") {
  const Caches caches;
  const auto views = with_requests({5, 9, 1});
  auto a = make("power_of_two", 7), b = make("power_of_two", 7);
  std::map<int, int> taken;
  for (int i = 0; i < 300; ++i) {
    const int r = a->route({}, views, caches);
    CHECK(r == b->route({}, views, caches));
    ++taken[r];
  }
  CHECK(taken[1] == 0);
  CHECK(taken[2] == Approx(200).margin(40));  // in two of the three pairs
}

TEST_CASE("does prefix-aware routing follow the cache, but not into a crowd?") {
  Caches caches;
  caches.held = {{0, 64}, {1, 96}};
  auto router = make("prefix_aware");
  CHECK(router->route(with_prefix(), with_requests({0, 20, 0}), caches) == 1);
  CHECK(router->route(with_prefix(), with_requests({5, 60, 0}), caches) == 2);  // 60 - 0 > 32: balance first
  CHECK(router->route({}, with_requests({5, 6, 4}), caches) == 2);  // nothing to share: the idlest
  caches.held = {};
  CHECK(router->route(with_prefix(), with_requests({5, 6, 4}), caches) == 2);
}
