// Row HW-12: what isolating tenants costs of a prefix cache.
#include <catch2/catch.hpp>

#include "scenario/run_scenario.hpp"

using namespace orrery;

namespace {

/// Prompts of 1,600 tokens, all of which repeat: `groups` system prompts with a question of each of `users`.
Summary served(const std::string& prefix, bool isolated, const std::string& rate = "2") {
  Assignments all;
  const auto set = [&](const char* name, const std::string& value) {
    all.push_back({name, value, "test", "", 0});
  };
  set("model", "llama-3.1-8b"), set("gpu", "h100-sxm"), set("num_prompts", "120"), set("request_rate", rate);
  set("random_output_len", "4"), set("prefix", prefix);
  set("isolate_clients", isolated ? "true" : "false");
  return run_scenario(resolve(all)).summary;
}

}  // namespace

TEST_CASE("HW-12 is a prompt that clients share computed once for each, and nothing hit more than without?") {
  // One system prompt of 1,600 tokens, 100 full blocks, behind which 12 users have 16 tokens of their own.
  const std::string shared = "groups=1,users=12,system=1600,question=16";
  const Summary together = served(shared, false), apart = served(shared, true);
  const std::int64_t prompts = 120, blocks = 1600;
  // Together it is computed once; apart, once for each of the twelve. A whole prompt's last block is never
  // hit.
  CHECK(together.cached_tokens == (prompts - 1) * blocks);
  CHECK(apart.cached_tokens == (prompts - 12) * blocks);
  for (const char* prefix :
       {"groups=3,users=4,system=800,question=320", "groups=1,users=1,system=640,question=64",
        "groups=5,users=1,system=320,question=0"}) {
    INFO(prefix);
    CHECK(served(prefix, true, "20").cached_tokens <= served(prefix, false, "20").cached_tokens);
  }
  const std::string alone = "groups=1,users=1,system=640,question=64";
  CHECK(served(alone, true).cached_tokens == served(alone, false).cached_tokens);
}
