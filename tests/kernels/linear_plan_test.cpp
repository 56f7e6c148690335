#include <algorithm>

#include <catch2/catch.hpp>

#include "linear_attention.hpp"

using namespace orrery::kernels;

TEST_CASE("do the chunks of packed prompts cover each token once, and never two sequences?", "[kernels]") {
  const std::vector<std::int64_t> lengths{130, 64, 0, 1, 63};
  const ChunkPlan plan = plan_chunks(lengths, 64);
  REQUIRE(plan.starts == std::vector<std::int32_t>{0, 3, 4, 4, 5, 6});
  REQUIRE(plan.spans.size() == 6);
  std::int32_t token = 0;
  for (std::size_t seq = 0; seq < lengths.size(); ++seq) {
    const std::int32_t end = token + static_cast<std::int32_t>(lengths[seq]);
    for (auto c = plan.starts[seq]; c < plan.starts[seq + 1]; ++c) {
      const ChunkSpan span = plan.spans[static_cast<std::size_t>(c)];
      CHECK(span.first == token);
      CHECK(span.tokens == std::min(64, end - token));
      token += span.tokens;
    }
    CHECK(token == end);
  }
}
