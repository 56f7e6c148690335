#include "workload/request_list.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "workload/csv_reader.hpp"

using namespace orrery;

namespace {

WorkloadSpec listed(std::vector<Request> requests, bool timed) {
  WorkloadSpec spec;
  spec.list = std::make_shared<RequestList>(RequestList{std::move(requests), timed});
  return spec;
}

Request request(double arrival_s, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.arrival = to_ps(Seconds(arrival_s));
  r.prompt_tokens = prompt;
  r.output_tokens = output;
  return r;
}

std::vector<Request> drain(const WorkloadSpec& spec) {
  const auto source = make_source(spec, 1);
  std::vector<Request> out;
  for (Request r; source->next(r);) out.push_back(r);
  return out;
}

}  // namespace

TEST_CASE("are recorded requests given at their times, in their order, with ids from 0?") {
  const auto out = drain(listed({request(0, 10, 1), request(0.25, 20, 2), request(0.25, 30, 3)}, true));
  REQUIRE(out.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) CHECK(out[i].id == static_cast<RequestId>(i));
  CHECK(out[1].arrival == to_ps(Seconds(0.25)));
  CHECK(out[2].prompt_tokens == 30);
  CHECK(out[2].output_tokens == 3);
}

TEST_CASE("do requests without times arrive as a generator with that rate would have it?") {
  WorkloadSpec spec = listed(std::vector<Request>(50, request(0, 7, 7)), false);
  spec.request_rate = 4;
  WorkloadSpec synthetic;
  synthetic.request_rate = 4;
  synthetic.num_prompts = 50;
  const auto mine = drain(spec), generated = drain(synthetic);
  REQUIRE(mine.size() == generated.size());
  for (std::size_t i = 0; i < mine.size(); ++i) CHECK(mine[i].arrival == generated[i].arrival);
}

TEST_CASE("is a list without requests refused?") {
  CHECK_THROWS_AS(make_source(listed({}, true), 1), ConfigError);
}

TEST_CASE("may lines above a CSV header say where the data comes from?") {
  const std::string text = "# measured; a, b\n#\na,b\n1,2\n";
  CsvReader csv(ByteSource::memory(text, "log.csv").open(), "log.csv");
  REQUIRE(csv.next());
  CHECK(csv.number(csv.column({"b"})) == 2);
  CHECK(csv.line() == 4);
}
