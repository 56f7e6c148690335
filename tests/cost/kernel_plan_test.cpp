#include "cost/kernel_plan.hpp"

#include <catch2/catch.hpp>

using namespace orrery;

TEST_CASE("which sizes does vLLM capture?") {
  CHECK(vllm_graph_sizes(0).empty());
  CHECK(vllm_graph_sizes(1) == std::vector<int>{1});
  CHECK(vllm_graph_sizes(7) == std::vector<int>{1, 2, 4});
  CHECK(vllm_graph_sizes(17) == std::vector<int>{1, 2, 4, 8, 16});
  const auto sizes = vllm_graph_sizes(512);
  CHECK(sizes.size() == 3 + 31 + 17);  // 1 2 4; 8..248 by 8; 256..512 by 16
  CHECK(sizes[3 + 30] == 248);
  CHECK(sizes[3 + 31] == 256);
  CHECK(sizes[3 + 32] == 272);
  CHECK(sizes.back() == 512);
}

TEST_CASE("on how many tokens do the dense kernels of a step run?") {
  KernelPlan plan;
  CHECK(plan.padded(3, false) == 3);  // no graphs
  plan.graph_sizes = vllm_graph_sizes(512);
  CHECK(plan.padded(8, false) == 8);
  CHECK(plan.padded(9, false) == 16);
  CHECK(plan.padded(249, false) == 256);
  CHECK(plan.padded(511, true) == 512);
  CHECK(plan.padded(512, true) == 512);
  CHECK(plan.padded(513, true) == 513);  // beyond the largest graph nothing is padded
  plan.graph_mixed = false;
  CHECK(plan.padded(9, true) == 9);
  CHECK(plan.padded(9, false) == 16);
}
