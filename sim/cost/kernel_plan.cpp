#include "cost/kernel_plan.hpp"

#include <algorithm>

namespace orrery {

std::int64_t KernelPlan::padded(std::int64_t tokens, bool has_prefill) const {
  if (has_prefill && !graph_mixed) return tokens;
  const auto size = std::lower_bound(graph_sizes.begin(), graph_sizes.end(), tokens);
  return size == graph_sizes.end() ? tokens : *size;
}

std::vector<int> vllm_graph_sizes(int max) {
  std::vector<int> sizes;
  for (int size = 1; size <= max;) {
    sizes.push_back(size);
    size = size < 4 ? size * 2 : size < 8 ? 8 : size < 256 ? size + 8 : size + 16;
  }
  return sizes;
}

}  // namespace orrery
