#include "serving/router.hpp"

#include <map>

#include <catch2/catch.hpp>

#include "base/rng.hpp"

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
  return Registry<Routers>::find(name).make({seed});
}

std::vector<ReplicaView> with_requests(std::vector<std::int64_t> counts) {
  std::vector<ReplicaView> views;
  for (const auto n : counts) {
    ReplicaView view;
    view.replica = static_cast<int>(views.size());
    view.outstanding_requests = n, view.outstanding_tokens = n * 100;
    view.kv_blocks_free = view.kv_blocks_total = 1000;
    views.push_back(view);
  }
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
  CHECK(Registry<Routers>::names() == std::vector<std::string>{"cost_aware", "freest", "kv_utilisation",
                                                               "least_requests", "least_tokens",
                                                               "power_of_two", "prefix_aware", "random",
                                                               "round_robin", "session_sticky", "weighted"});
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

TEST_CASE("does a session stay where it is, whoever is busy, and move only with its replica?") {
  const Caches caches;
  auto router = make("session_sticky");
  auto views = with_requests({0, 0, 0, 0, 0, 0, 0, 0});
  std::map<int, int> sessions;
  Request r;
  for (r.session = 0; r.session < 800; ++r.session) sessions[r.session] = router->route(r, views, caches);
  std::vector<int> share(8);
  for (const auto& session : sessions) ++share[static_cast<std::size_t>(session.second)];
  for (const int n : share) CHECK(n == Approx(100).margin(40));  // four standard deviations

  for (auto& view : views) view.outstanding_requests = 7 * (view.replica % 3);
  for (r.session = 0; r.session < 800; ++r.session)
    CHECK(router->route(r, views, caches) == sessions[r.session]);

  views.erase(views.begin() + 3);  // a replica is gone: only its own sessions move
  for (r.session = 0; r.session < 800; ++r.session) {
    const int at = views[static_cast<std::size_t>(router->route(r, views, caches))].replica;
    if (sessions[r.session] != 3) CHECK(at == sessions[r.session]);
  }
}

TEST_CASE("where does a request without a session go?") {
  const Caches caches;
  auto router = make("session_sticky");
  const auto views = with_requests({4, 2, 3, 5});
  Request r, with_session;
  CHECK(router->route(r, views, caches) == 1);
  r.client = with_session.session = 17;
  CHECK(router->route(r, views, caches) == router->route(with_session, views, caches));
}

TEST_CASE("is a weighted sum of one scorer that scorer?") {
  Rng rng(3, "views");
  const auto weighted = [](double prefix, double load, double kv) {
    return Registry<Routers>::find("weighted").make({0, prefix, load, kv});
  };
  for (int n = 0; n < 200; ++n) {
    auto views = with_requests({rng.uniform_int(0, 9), rng.uniform_int(0, 9), rng.uniform_int(0, 9)});
    Caches caches;
    int most_cached = 0;
    for (int i = 0; i < 3; ++i) {
      views[static_cast<std::size_t>(i)].kv_blocks_free = 3 * rng.uniform_int(0, 300) + i;  // no two alike
      caches.held[i] = rng.uniform_int(0, 100);
      if (caches.held[i] > caches.held[most_cached]) most_cached = i;
    }
    const Request r = with_prefix();
    CHECK(weighted(0, 1, 0)->route(r, views, caches) == make("least_requests")->route(r, views, caches));
    CHECK(weighted(0, 0, 1)->route(r, views, caches) == make("kv_utilisation")->route(r, views, caches));
    CHECK(weighted(1, 0, 0)->route(r, views, caches) == most_cached);
  }
}

TEST_CASE("does the cost-aware router weigh speed against price, and both against the queue?") {
  const Caches caches;
  auto router = make("cost_aware");
  auto views = with_requests({0, 0});
  views[0].rate = {1e-4, 1e-3, 4}, views[1].rate = {3e-4, 3e-3, 1};  // a third of the speed at a quarter
  Request r;
  r.prompt_tokens = 1000, r.output_tokens = 100;
  CHECK(router->route(r, views, caches) == 1);
  views[1].outstanding_tokens = 1100, views[1].outstanding_prompt_tokens = 1000;  // one like it ahead
  CHECK(router->route(r, views, caches) == 0);
  views[0].rate.usd_per_hour = 12;
  CHECK(router->route(r, views, caches) == 1);
  views[0].rate = views[1].rate = {};  // where replicas are the same it is least_tokens
  CHECK(router->route(r, views, caches) == make("least_tokens")->route(r, views, caches));
}
