// The live engine on a toy model, its kernels under the emulator.
#include <algorithm>

#include <catch2/catch.hpp>

#include "reference_decoder.hpp"
#include "toy.hpp"

using namespace orrery;
using namespace orrery::test;

namespace {

/// Sequences whose tokens were compared with the reference, and how sure that comparison is.
struct Agreement {
  int tokens = 0, decisive = 0, wrong = 0;
};

/// Each token that was sampled must be the reference's choice, unless two logits are so near that bf16 may
/// choose either.
Agreement compare(const live::GpuRunner& runner, const std::vector<Request>& requests) {
  constexpr double margin = 0.08;  // bf16 activations through two layers; logits have unit variance
  const ReferenceDecoder reference(runner.decoder());
  Agreement a;
  for (const Request& r : requests) {
    const auto& sampled = runner.tokens().sampled(r.id);
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < r.prompt_tokens; ++i) tokens.push_back(runner.tokens().at(r, i));
    tokens.insert(tokens.end(), sampled.begin(), sampled.end() - 1);
    const auto logits = reference.logits(tokens);
    for (std::size_t i = 0; i < sampled.size(); ++i) {
      auto row = logits[static_cast<std::size_t>(r.prompt_tokens) - 1 + i];
      const double chosen = row[static_cast<std::size_t>(sampled[i])];
      std::nth_element(row.begin(), row.begin() + 1, row.end(), std::greater<>());
      const double best = std::max(row[0], row[1]), second = std::min(row[0], row[1]);
      ++a.tokens, a.decisive += best - second > margin, a.wrong += best - chosen > margin;
    }
  }
  return a;
}

std::vector<Request> some_requests() {
  return {request(0, 0, 5, 3), request(1, 0, 13, 2), request(2, 2.5, 25, 2), request(3, 3, 1, 3)};
}

void require_complete(const Records& records, const std::vector<Request>& requests,
                      const live::GpuRunner& runner) {
  REQUIRE(records.all.size() == requests.size());
  for (const auto& r : records.all) {
    CHECK(r.failure == nullptr);
    const auto& asked = requests[static_cast<std::size_t>(r.id)];
    CHECK(r.output_tokens == asked.output_tokens);
    CHECK(runner.tokens().sampled(r.id).size() == static_cast<std::size_t>(asked.output_tokens));
  }
}

}  // namespace

TEST_CASE("are tokens of the batched, paged, chunked engine those of a plain forward pass?") {
  const ToyEngine engine;
  const auto requests = some_requests();
  auto runner = engine.runner(toy_sizes());
  const Records records = serve(engine, *runner, requests);
  require_complete(records, requests, *runner);
  const Agreement a = compare(*runner, requests);
  CHECK(a.tokens == 10);
  CHECK(a.wrong == 0);
  CHECK(a.decisive > a.tokens / 2);
}

TEST_CASE("are they still when prompts share cached prefixes and sequences are preempted?") {
  ToyEngine engine;
  engine.kv.blocks = 8;  // 28 tokens: three of the sequences cannot all stay
  PrefixKeys keys;
  keys.block_tokens = 4, keys.ids = {11, 12};
  const auto shared = std::make_shared<const PrefixKeys>(keys);
  std::vector<Request> requests = {request(0, 0, 10, 6), request(1, 1, 12, 6), request(2, 2, 11, 6)};
  for (auto& r : requests) r.prefix = shared;
  auto runner = engine.runner(toy_sizes());
  const Records records = serve(engine, *runner, requests);
  require_complete(records, requests, *runner);
  std::int64_t preemptions = 0, cached = 0;
  for (const auto& r : records.all) preemptions += r.preemptions, cached += r.cached_tokens;
  CHECK(preemptions > 0);
  CHECK(cached >= 8);
  CHECK(compare(*runner, requests).wrong == 0);
}

TEST_CASE("do graphs and steps planned ahead change no token?") {
  const std::vector<Request> requests = {request(0, 0, 5, 3), request(1, 1, 9, 2)};
  ToyEngine with, without;
  without.graph_sizes = {};
  without.scheduler.async_scheduling = false;
  auto a = with.runner(toy_sizes()), b = without.runner(toy_sizes());
  serve(with, *a, requests), serve(without, *b, requests);
  for (const auto& r : requests) CHECK(a->tokens().sampled(r.id) == b->tokens().sampled(r.id));
}

TEST_CASE("is every request served in the other weight formats?") {
  const auto format = GENERATE(live::WeightFormat::fp8, live::WeightFormat::int4);
  const ToyEngine engine;
  const std::vector<Request> requests = {request(0, 0, 5, 2), request(1, 0, 20, 1)};
  auto runner = engine.runner(toy_sizes(format));
  require_complete(serve(engine, *runner, requests), requests, *runner);
}
