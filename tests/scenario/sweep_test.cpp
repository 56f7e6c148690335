#include "scenario/sweep.hpp"

#include <csignal>
#include <fstream>
#include <map>
#include <set>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "scenario/processes.hpp"
#include "support/temporary_folder.hpp"

using namespace orrery;

namespace {

SweepDesign design() {
  SweepDesign d;
  const auto set = [&](const char* name, const char* value) {
    d.base.push_back({name, value, "test", "", 0});
  };
  set("model", "llama-3.1-8b"), set("gpu", "h100-sxm"), set("num_prompts", "50"), set("request_rate", "10");
  d.axes = {{"tensor_parallel_size", {"1", "2", "16"}}, {"max_num_seqs", {"8", "64"}}};
  return d;
}

}  // namespace

TEST_CASE("does a grid hold every combination once, the last axis fastest?") {
  const auto points = sweep_points(design());
  REQUIRE(points.size() == 6);
  CHECK(points[1].values == std::vector<std::string>{"1", "64"});
  CHECK(points[2].values == std::vector<std::string>{"2", "8"});
  std::set<std::string> keys;
  for (const auto& p : points) keys.insert(p.key());
  CHECK(keys.size() == 6);
}

TEST_CASE("are points that are drawn different ones of the grid, and the same for the same seed?") {
  SweepDesign d = design();
  std::set<std::vector<std::string>> grid, met;
  for (const auto& p : sweep_points(d)) grid.insert(p.values);
  d.random = 4;
  for (d.seed = 0; d.seed < 20; ++d.seed) {
    const auto points = sweep_points(d);
    std::set<std::vector<std::string>> drawn;
    for (const auto& p : points) drawn.insert(p.values);
    REQUIRE(drawn.size() == 4);
    for (const auto& values : drawn) CHECK(grid.count(values) == 1);
    met.insert(drawn.begin(), drawn.end());
    CHECK(sweep_points(d)[3].values == points[3].values);
  }
  CHECK(met == grid);
}

TEST_CASE("do results come back from their file, but for a line that was cut off?") {
  const TemporaryFolder folder("sweep");
  const std::string file = (folder.path / "points.jsonl").string();
  const auto write = [&](const std::string& text) { std::ofstream(file) << text; };
  const auto points = sweep_points(design());
  std::string text;
  for (const std::size_t i : {0UL, 4UL}) text += to_line(points[i], run_point(points[i]));
  write(text + to_line(points[1], {}).substr(0, 30));
  const auto found = read_results(file);
  REQUIRE(found.size() == 2);
  CHECK(found.at(points[0].key()).summary["completed"] == 50);
  CHECK(found.at(points[4].key()).status == "failed");
  CHECK_THAT(found.at(points[4].key()).error, Catch::Contains("crosses servers"));

  write("not a result\n");
  CHECK_THROWS_WITH(read_results(file), Catch::Contains("not a line of a sweep's results"));
}

TEST_CASE("is a misspelt setting or value of an axis refused before anything runs?") {
  CHECK(parse_axis("max-num-seqs=8,64").setting == "max_num_seqs");
  CHECK_THROWS_WITH(parse_axis("max_num_seq=8"), Catch::Contains("unknown setting 'max_num_seq'"));
  CHECK_THROWS_AS(parse_axis("max_num_seqs=eight"), ConfigError);
  CHECK_THROWS_AS(parse_axis("max_num_seqs="), ConfigError);
  CHECK_THROWS_AS(parse_axis("max_num_seqs"), ConfigError);
}

TEST_CASE("does a job that dies take nothing with it, and does asking to stop leave the rest unstarted?") {
  const std::string long_text(1 << 20, 'x');  // more than a pipe holds
  std::map<std::size_t, ProcessOutcome> told;
  run_in_processes(
      5, 2,
      [&](std::size_t i) {
        if (i == 1) std::raise(SIGKILL);
        if (i == 3) throw ConfigError("no");
        return long_text + std::to_string(i);
      },
      [&](std::size_t i, const ProcessOutcome& outcome) { CHECK(told.emplace(i, outcome).second); },
      [] { return false; });
  REQUIRE(told.size() == 5);
  CHECK(told[0].output == long_text + "0");
  CHECK_THAT(told[1].died, Catch::Contains("signal 9"));
  CHECK_THAT(told[3].died, Catch::Contains("status 70"));
  CHECK(told[4].output == long_text + "4");

  std::size_t done = 0;
  run_in_processes(
      10, 2, [](std::size_t) { return std::string("x"); },
      [&](std::size_t, const ProcessOutcome&) { ++done; }, [&] { return done >= 3; });
  CHECK(done >= 3);
  CHECK(done <= 5);
}
