#include <cmath>
#include <map>

#include <catch2/catch.hpp>

#include "active_sampling.hpp"
#include "base/error.hpp"
#include "ops/kernel_classes.hpp"
#include "plan.hpp"

using namespace orrery;
using namespace orrery::profile;

namespace {

Queue queue(const std::string& name, double weight, int cases) {
  Queue q;
  q.component = name, q.weight = weight;
  for (int i = 0; i < cases; ++i) {
    Job job;
    job.component = name;
    job.what.seed = static_cast<std::uint64_t>(i);
    q.jobs.push_back(job);
  }
  return q;
}

TableRow row(double m, double n, double time_s) {
  TableRow r;
  r.component = "gemm", r.variant = "a";
  r.dims = {m, n, 4096};
  r.time_s = time_s;
  return r;
}

}  // namespace

TEST_CASE("does every component get time by its weight, its most wanted cases first?", "[profile]") {
  Plan plan({queue("heavy", 3, 100), queue("light", 1, 100)});
  std::map<std::string, std::uint64_t> taken;
  for (int i = 0; i < 40; ++i) {
    const auto job = plan.next();
    REQUIRE(job);
    CHECK(job->what.seed == taken[job->component]++);
    plan.spent(job->component, 1);
  }
  CHECK(taken["heavy"] == 30);
  CHECK(taken["light"] == 10);
}

TEST_CASE("does what one component leaves over go to the others?", "[profile]") {
  Plan plan({queue("short", 1, 2), queue("long", 1, 10)});
  int taken = 0;
  while (const auto job = plan.next()) plan.spent(job->component, 1), ++taken;
  CHECK(taken == 12);
  CHECK(plan.left() == 0);
}

TEST_CASE("are slow cases paid for by the component they belong to?", "[profile]") {
  Plan plan({queue("fast", 1, 100), queue("slow", 1, 100)});
  std::map<std::string, int> taken;
  for (int i = 0; i < 33; ++i) {
    const auto job = plan.next();
    ++taken[job->component];
    plan.spent(job->component, job->component == "slow" ? 10 : 1);
  }
  CHECK(taken["slow"] == 3);
}

TEST_CASE("is a round number between two others one that kernels have shapes for?", "[profile]") {
  CHECK(round_between(16, 1024) == 128);
  CHECK(round_between(1, 8) == 2);
  CHECK(round_between(4096, 4096) == 4096);
  CHECK(round_between(512, 3584) == 1536);  // multiples of 512; sqrt = 1354.6
  CHECK_FALSE(round_between(4096, 8192));
  CHECK_FALSE(round_between(0, 8));
}

TEST_CASE("is the next shape where interpolation errs most?", "[profile]") {
  // Time follows a power law in m except for a knee at m = 1024; one in eight rows would not tell.
  std::vector<TableRow> rows;
  for (const double m : {1.0, 16.0, 256.0, 1024.0, 16384.0, 262144.0}) {
    rows.push_back(row(m, 4096, m <= 1024 ? 1e-5 : 1e-5 * m / 1024));
  }
  const auto gaps = uncertain_gaps(rows);
  REQUIRE_FALSE(gaps.empty());
  CHECK(gaps.front().dims[0] > 256);
  CHECK(gaps.front().dims[0] < 262144);
  CHECK(gaps.front().dims[1] == 4096);
  for (const auto& gap : gaps) CHECK(gap.uncertainty <= gaps.front().uncertainty);
  CHECK(gaps.back().dims[0] < 256);  // 1 to 256 is flat
}

TEST_CASE("does interpolation follow rows whose dimensions move together?", "[profile]") {
  // A diagonal: m and n both double. A power law along it is predicted exactly, so all gaps count the same.
  std::vector<TableRow> rows;
  for (double s = 1 << 10; s <= 1 << 22; s *= 8) rows.push_back(row(s, 4 * s, 1e-9 * s));
  const auto gaps = uncertain_gaps(rows);
  REQUIRE(gaps.size() == 4);
  for (const auto& gap : gaps) {
    CHECK(gap.dims[1] == 4 * gap.dims[0]);
    CHECK(gap.uncertainty < 0.01);
  }
}

TEST_CASE("are rows of different variants and formats kept apart?", "[profile]") {
  std::vector<TableRow> rows = {row(1, 4096, 1e-5), row(64, 4096, 1e-5)};
  rows[1].variant = "b";
  CHECK(uncertain_gaps(rows).empty());
  rows[1].variant = "a", rows[1].dtype = DType::fp8;
  CHECK(uncertain_gaps(rows).empty());
}

TEST_CASE("is a component --only does not find a usage error with the near name?", "[profile]") {
  const auto device = kernels::device_info();
  CHECK(chosen_components({"norm"}, device) == std::vector<std::string>{"norm"});
  try {
    chosen_components({"nrom"}, device);
    FAIL("accepted");
  } catch (const ConfigError& e) {
    CHECK(e.code() == ExitCode::usage);
    CHECK_THAT(e.hint(), Catch::Contains("norm"));
  }
}
