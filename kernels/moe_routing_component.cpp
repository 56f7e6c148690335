#include <algorithm>
#include <array>

#include "component.hpp"
#include "moe_routing.hpp"
#include "moe_routing_instance.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/moe.hpp"

// The component of moe_routing.cu: the shapes of routers.

namespace orrery::kernels {
namespace {

/// A router as models have it.
struct Router {
  int experts, top_k, hidden;
  std::map<std::string, std::int64_t> with = {};
};

/// Of catalogued models: Qwen3-30B-A3B, Mixtral-8x7B, DeepSeek-V3, gpt-oss-120b and -20b, Qwen3-235B-A22B,
/// Mixtral-8x22B, DeepSeek-V2-Lite, Llama-4-Scout, Jamba-v0.1, OLMoE, Kimi-K2; and two between.
const std::vector<Router>& routers() {
  static const std::vector<Router> all{
      {128, 8, 2048},
      {8, 2, 4096},
      {256, 8, 7168, {{"sigmoid", 1}, {"bias", 1}, {"groups", 8}, {"top_groups", 4}, {"scale_percent", 250}}},
      {128, 4, 2880},
      {32, 4, 2880},
      {128, 8, 4096},
      {8, 2, 6144},
      {64, 6, 2048, {{"renormalise", 0}}},
      {16, 1, 5120, {{"sigmoid", 1}, {"renormalise", 0}}},
      {16, 2, 4096},
      {64, 8, 2048, {{"renormalise", 0}}},
      {384, 8, 7168, {{"sigmoid", 1}, {"bias", 1}, {"scale_percent", 283}}},
      {64, 2, 1024},
      {16, 4, 8192}};
  return all;
}

Case routing_case(const KernelClass& cls, int tokens, const Router& r) {
  Case c;
  const auto d = [](int x) { return static_cast<double>(x); };
  c.call = make_call(cls, {d(tokens), d(r.experts), d(r.top_k), d(r.hidden)}, DType::bf16, DType::bf16);
  c.variant = &cls == &kMoeRouting ? "token_choice" : "expert_choice";
  if (&cls == &kMoeRouting) c.with = r.with;
  return c;
}

class MoeRouting final : public Component {
 public:
  std::string_view source() const override {
    return "Shazeer et al., 2017; DeepSeek-V3, 2024, section 2.1.2; Zhou et al., Expert Choice, 2022, "
           "section 3.2";
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    constexpr std::array tokens{64, 1, 2048, 16, 256, 8192, 512, 4, 128, 1024, 32, 4096, 8, 16384, 2};
    constexpr std::size_t whole = 4;  // routers that get all of them; the others get every third, in turn
    std::vector<Case> cases;
    for (std::size_t r = 0; r < routers().size(); ++r) {
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        if (r < whole || i % 3 == r % 3) cases.push_back(routing_case(kMoeRouting, tokens[i], routers()[r]));
      }
    }
    for (const std::size_t r : {1U, 8U, 10U, 12U, 0U, 13U}) {
      for (const int count : {2048, 512, 8192, 64, 16384, 4096, 128})
        cases.push_back(routing_case(kMoeExpertChoice, count, routers()[r]));
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases;
    const auto add = [&](int tokens, const Router& r) {
      cases.push_back(routing_case(kMoeRouting, tokens, r));
    };
    for (const int experts : {8, 31, 32, 33, 64, 65, 200, 384}) add(3, {experts, experts % 8 + 1, 16});
    for (const int hidden : {8, 2040, 2048, 2056}) add(2, {8, 2, hidden});
    for (const int tokens : {1, 8, 9}) add(tokens, {16, 8, 8});
    add(5,
        {256, 8, 8, {{"sigmoid", 1}, {"bias", 1}, {"groups", 8}, {"top_groups", 4}, {"scale_percent", 250}}});
    add(5, {160, 6, 8, {{"groups", 8}, {"top_groups", 3}, {"renormalise", 0}, {"scale_percent", 1600}}});
    add(4, {12, 2, 8, {{"bias", 1}, {"groups", 12}, {"top_groups", 2}}});
    add(9, {16, 1, 8, {{"sigmoid", 1}, {"renormalise", 0}}});
    for (const int alignment : {16, 64}) add(20, {12, 3, 8, {{"alignment", alignment}}});
    // Two tiles of the sort and a bit, with experts that get none and all kinds of alignment.
    add(515, {512, 8, 8, {{"alignment", 4}}}), add(256, {8, 8, 8}), add(257, {9, 8, 8});
    for (const auto& [tokens, experts, top_k] : {std::array{7, 8, 2}, {1, 8, 2}, {40, 33, 8}, {1030, 8, 1}})
      cases.push_back(routing_case(kMoeExpertChoice, tokens, {experts, top_k, 8}));
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    if ((call.cls != &kMoeRouting && call.cls != &kMoeExpertChoice) || call.dtype != DType::bf16) return {};
    const auto dim = [&](std::size_t i) { return static_cast<int>(call.dims[i]); };
    if (dim(1) < 1 || dim(1) > kMaxExperts || dim(2) < 1 || dim(2) > std::min(kMaxChoices, dim(1)) ||
        dim(3) % 8 != 0 || dim(0) < 1)
      return {};
    Router router{dim(1), dim(2), dim(3)};
    for (const Router& r : routers()) {
      if (r.experts == dim(1) && r.top_k == dim(2) && r.hidden == dim(3)) router = r;
    }
    return {routing_case(*call.cls, dim(0), router)};
  }

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (device.cc_major < 8) return "reductions of integers over a warp begin with compute capability 8.0";
    const auto& d = c.call.dims;
    const double rows = d[0] * d[2] + d[1] * static_cast<double>(c.option("alignment", 1));
    if (2 * d[3] * (2 * rows + 2 * d[0]) + 12 * d[0] * d[1] > 0.8 * static_cast<double>(device.memory_bytes))
      return "needs more memory than the device has";
    return std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override { return make_moe_routing(c); }
};

const MoeRouting component;

}  // namespace

const Registration<Components> moe_routing_component{
    "moe_routing", "choice of experts, sort, permutation and weighted sum of a mixture of experts",
    &component};

}  // namespace orrery::kernels
