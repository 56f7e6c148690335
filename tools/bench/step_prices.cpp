#include "step_prices.hpp"

#include <vector>

#include <fmt/format.h>

#include "base/rng.hpp"
#include "cpu_time.hpp"
#include "server.hpp"

namespace orrery::bench {

namespace {

/// CPU nanoseconds per call of `body(i)` for i < n.
template <class Body>
double ns_per_call(std::size_t n, Body body) {
  const double start = cpu_seconds();
  for (std::size_t i = 0; i < n; ++i) body(i);
  return (cpu_seconds() - start) * 1e9 / static_cast<double>(n);
}

void print_line(const char* what, double ns) {
  fmt::print("  {:<62}{:>9.0f} ns\n", what, ns);
}

void print_prices(const Server& server) {
  constexpr std::size_t kCalls = 200'000;
  fmt::print("step prices: {} on {}\n", server.model, server.gpu);
  const auto pricer = deploy(server).cluster.replicas.front().pricer;
  const std::size_t windows = pricer->model().caps().size();
  Rng rng(1, "bench");
  std::vector<DecodeSet> sets(kCalls);
  std::vector<PrefillChunk> chunks(kCalls);
  for (std::size_t i = 0; i < kCalls; ++i) {
    sets[i].seqs = rng.uniform_int(1, 256);
    sets[i].context = sets[i].seqs * rng.uniform_int(500, 3000);
    for (std::size_t w = 0; w < windows; ++w) sets[i].windowed[w] = sets[i].context;
    chunks[i] = {rng.uniform_int(1, 8000), rng.uniform_int(0, 20000)};
  }
  std::int64_t sum = 0;
  const auto decode = [&](std::size_t i) { sum += pricer->decode(sets[i]).first.value; };
  const auto mixed = [&](std::size_t i) { sum += pricer->mixed(sets[i], {&chunks[i], 1}).value; };
  const auto settle = [&](std::size_t i) {
    const Ps total = pricer->mixed(sets[i], {&chunks[i], 1});
    pricer->account_mixed(sets[i], {&chunks[i], 1}, total);
  };
  const double fill_decode = ns_per_call(kCalls, decode) * kCalls * 1e-6;
  print_line("decode", ns_per_call(kCalls, decode));
  print_line("decode and its account", ns_per_call(kCalls, [&](std::size_t i) {
               pricer->account_decode(sets[i], pricer->decode(sets[i]), 1);
             }));
  const double fill_tokens = ns_per_call(8000,
                                         [&](std::size_t i) {
                                           const PrefillChunk chunk{static_cast<Tokens>(i) + 1, 0};
                                           sum += pricer->mixed({}, {&chunk, 1}).value;
                                         }) *
                             8000 * 1e-6;
  print_line("mixed, a chunk not seen lately", ns_per_call(kCalls, mixed));
  print_line("mixed and its account", ns_per_call(kCalls, settle));
  fmt::print(
      "  first use: {:.1f} ms for decode sets of 1..256 sequences, {:.1f} ms for steps of 1..8000 tokens\n",
      fill_decode, fill_tokens);
  if (sum == 0) fmt::print("  (no time at all)\n");  // keeps the calls from being optimised away
}

}  // namespace

void print_step_prices() {
  print_prices({});
  Server windowed;
  windowed.model = "gemma-2-9b";
  print_prices(windowed);
}

}  // namespace orrery::bench
