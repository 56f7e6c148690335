#include "scenario/accuracy_report.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

#include "scenario/engine_profile.hpp"
#include "support/reference_data.hpp"

using namespace orrery;

namespace {

ServerRow row(const std::string& set, double predicted, double measured, bool fitted = false) {
  ServerRow r;
  r.set = set;
  r.run = std::string("a run");
  r.hardware = std::string("h100");
  r.model = std::string("m");
  r.engine = std::string("vllm@0.15.1");
  r.load = std::string("8 users");
  r.load_value = 8, r.isl = 1000, r.osl = 100, r.fitted = fitted;
  r[ServerMetric::tpot] = {measured, predicted, Interval{predicted * 0.9, predicted * 1.1}};
  return r;
}

std::vector<const ServerRow*> pointers(const std::vector<ServerRow>& rows) {
  std::vector<const ServerRow*> out;
  for (const auto& r : rows) out.push_back(&r);
  return out;
}

/// A fifth of all published servers, predicted once.
const std::vector<ServerRow>& sample(const std::string& dir) {
  static const auto rows = [&] {
    ServerOptions options;
    options.every = 5;
    return validate_servers(dir + "/endtoend", options);
  }();
  return rows;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("what are the median, the p90 and the bias of these errors, and how many intervals hold?") {
  // Errors -20, -10, 0, +10 and +5 percent; an interval of 10% either side holds all but the first.
  const std::vector<ServerRow> rows = {row("s", 8, 10), row("s", 9, 10), row("s", 10, 10), row("s", 11, 10),
                                       row("s", 10.5, 10)};
  const auto e = errors_of(pointers(rows), ServerMetric::tpot);
  CHECK(e.rows == 5);
  CHECK(e.median_abs == Approx(0.10));
  CHECK(e.p90_abs == Approx(0.16));  // between 0.10 and 0.20, at rank 3.6
  CHECK(e.bias == Approx(0.0).margin(1e-12));
  CHECK(e.with_interval == 5);
  CHECK(e.covered == Approx(0.6));  // 8 +- 0.8 and 9 +- 0.9 miss 10
}

TEST_CASE("is a metric that was not measured left out?") {
  CHECK(errors_of(pointers({row("s", 8, 10)}), ServerMetric::ttft).rows == 0);
}

TEST_CASE("are fitted, held-out and doubtful rows kept apart on the page?") {
  std::vector<ServerRow> rows = {row("closed-loop", 11, 10, true), row("closed-loop", 13, 10),
                                 row("closed-loop", 50, 10)};
  rows[2].doubt = "it cannot be";
  const auto page = accuracy_page(rows);
  CHECK(contains(page, "| TPOT | 6 / 12 **missed** | 1 | 30.0 | 30.0 | +30.0 | 1 | 10.0 | 10.0 | +10.0 |"));
  CHECK(contains(page, "left out of every other table: it cannot be."));
}

TEST_CASE("are single measurements kept off the page, and whole sets where no licence is stated?") {
  const auto shown = accuracy_page({row("closed-loop", 12.25, 11.75)});
  const auto hidden = accuracy_page({row("blis-training", 12.25, 11.75)});
  CHECK(contains(shown, "12.25 | +4 |"));
  CHECK_FALSE(contains(shown, "11.75"));
  CHECK_FALSE(contains(hidden, "12.25"));
  CHECK(contains(hidden, "blis-training: no licence"));
}

TEST_CASE("are points drawn where they belong?") {
  const auto svg =
      scatter_plot({row("closed-loop", 10, 10), row("closed-loop", 20, 20, true)}, ServerMetric::tpot);
  CHECK(contains(svg, "<svg"));
  CHECK(contains(svg, "</svg>"));
  CHECK(contains(svg, "fill=\"#fff\" stroke="));  // the fitted one is hollow
}

TEST_CASE("is every pattern of fitted runs one that a published run matches?") {
  REQUIRE_REFERENCE_DATA(dir);
  const auto& rows = sample(dir);
  for (const auto& engine : list_engines()) {
    for (const auto& version : engine.versions) {
      const auto profile = load_engine(engine.name + "@" + version);
      if (profile.fitted_on.empty()) continue;
      INFO(profile.id());
      CHECK(std::any_of(rows.begin(), rows.end(),
                        [&](const ServerRow& r) { return r.engine == profile.id() && r.fitted; }));
      CHECK(std::any_of(rows.begin(), rows.end(),
                        [&](const ServerRow& r) { return r.engine == profile.id() && !r.fitted; }));
    }
  }
}

TEST_CASE("do 90 % intervals hold held-out servers about as often as they say?") {
  REQUIRE_REFERENCE_DATA(dir);
  const auto& rows = sample(dir);
  std::vector<const ServerRow*> held_out;
  for (const auto& r : rows) {
    if (r.skipped.empty() && r.doubt.empty() && !r.fitted) held_out.push_back(&r);
  }
  const auto tpot = errors_of(held_out, ServerMetric::tpot);
  CHECK(tpot.with_interval > 50);
  CHECK(tpot.covered > 0.8);
  CHECK(tpot.covered < 0.99);
}

TEST_CASE("are servers predicted alike on one thread and on two?") {
  REQUIRE_REFERENCE_DATA(dir);
  ServerOptions options;
  options.set = "trtllm-throughput";
  options.every = 20;
  options.threads = 1;
  const auto one = validate_servers(dir + "/endtoend", options);
  options.threads = 2;
  const auto two = validate_servers(dir + "/endtoend", options);
  REQUIRE(one.size() == two.size());
  REQUIRE(one.size() > 1);
  for (std::size_t i = 0; i < one.size(); ++i) {
    CHECK(one[i][ServerMetric::throughput].predicted == two[i][ServerMetric::throughput].predicted);
  }
}

TEST_CASE("is an unknown set answered with the known ones?") {
  ServerOptions options;
  options.set = "closed-lop";
  CHECK_THROWS_WITH(validate_servers("nowhere", options), Catch::Contains("unknown set 'closed-lop'"));
}
