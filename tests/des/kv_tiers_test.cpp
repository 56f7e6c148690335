// KV blocks in the host's memory, on drives and in storage that replicas share. Expected times are sums of
// the pricer's steps and of bytes over rates; expected hits are counted from the requests alone.
#include <map>

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "cost/alpha_beta.hpp"
#include "support/fake_engine.hpp"
#include "support/reference_data.hpp"
#include "workload/source.hpp"

using namespace orrery;

namespace {

constexpr double kBlockBytes = 16 * 131072.0;  ///< Llama-3.1-8B: 16 tokens of 128 KiB
constexpr double kPcie = 6.4e10, kDisk = 1e10, kStorage = 2e10;

std::shared_ptr<const PrefixKeys> keys(std::uint64_t first, std::int32_t tokens, std::uint64_t shared = 0,
                                       std::uint64_t tree = 0) {
  PrefixKeys out;
  out.block_tokens = 64;
  for (std::uint64_t k = 0; k * 64 < static_cast<std::uint64_t>(tokens); ++k)
    out.ids.push_back(k < shared ? tree * 1000 + k : first * 1000 + k);
  return std::make_shared<PrefixKeys>(std::move(out));
}

Request request(RequestId id, double seconds, std::int32_t prompt, std::int32_t output,
                std::shared_ptr<const PrefixKeys> prefix) {
  Request r;
  r.id = id, r.arrival = to_ps(Seconds(seconds)), r.prompt_tokens = prompt, r.output_tokens = output;
  r.prefix = std::move(prefix);
  return r;
}

struct Rig {
  ClusterConfig cluster;
  test::Records records;
  SimulationResult result;

  explicit Rig(std::int64_t gpu_blocks, std::vector<KvTierConfig> tiers = {}, bool async = false) {
    KernelPlan plan;
    plan.async_scheduling = async;
    ReplicaConfig replica;
    replica.pricer = test::pricer(load_model("llama-3.1-8b"), plan);
    replica.scheduler.async_scheduling = async;
    replica.scheduler.max_num_batched_tokens = 2048;
    replica.kv = {gpu_blocks + 1, 16, true};
    cluster.replicas = {replica};
    set_tiers(std::move(tiers), KvWrites::through);
  }
  void set_tiers(std::vector<KvTierConfig> tiers, KvWrites writes) {
    for (ReplicaConfig& replica : cluster.replicas) {
      replica.kv.tiers = tiers, replica.kv.tier_writes = writes;
      replica.kv_links = {kBlockBytes, 0, {}};
      for (const KvTierConfig& t : tiers) {
        const bool host = t.name == "host", disk = t.name == "disk";
        replica.kv_links.tiers.push_back({host   ? KvTierPlace::host
                                          : disk ? KvTierPlace::disk
                                                 : KvTierPlace::storage,
                                          host   ? kPcie
                                          : disk ? kDisk
                                                 : kStorage});
      }
    }
  }
  void run(const std::vector<Request>& requests) {
    test::ListSource source(requests);
    Observer* observers[] = {&records};
    result = simulate(cluster, source, observers);
  }
  const RequestRecord& record(RequestId id) const {
    for (const auto& r : records.all) {
      if (r.id == id) return r;
    }
    FAIL("no record of request " << id);
    return records.all.front();
  }
  Ps chunk(PrefillChunk c) { return cluster.replicas.front().pricer->mixed({}, {&c, 1}); }
};

Ps load_time(double bytes, double bytes_per_s) {
  const AlphaBeta links;
  return to_ps(Seconds(bytes / (bytes_per_s * links.link_efficiency))) + to_ps(Seconds(links.hop_s));
}

/// A prompt, another one that takes all blocks, and the first again.
std::vector<Request> there_and_back() {
  return {request(0, 0, 640, 8, keys(1, 640)), request(1, 10, 1000, 8, keys(2, 1000)),
          request(2, 20, 640, 8, keys(1, 640))};
}

std::vector<Request> random_requests(Rng& rng, int count, double mean_gap_s) {
  std::vector<Request> out;
  double t = 0;
  for (int i = 0; i < count; ++i) {
    t += mean_gap_s * rng.uniform(0, 2);
    const auto prompt = static_cast<std::int32_t>(rng.uniform_int(1, 2500));
    const auto output = static_cast<std::int32_t>(rng.uniform_int(1, 120));
    const auto tree = static_cast<std::uint64_t>(rng.uniform_int(1, 6));
    const auto shared = static_cast<std::uint64_t>(rng.uniform_int(0, 30));
    out.push_back(
        request(i, t, prompt, output, keys(static_cast<std::uint64_t>(i) + 100, prompt, shared, tree)));
  }
  return out;
}

/// Tokens that a cache which forgets nothing would hit: leading full blocks of ids seen before.
Tokens hits_of_an_infinite_cache(const std::vector<Request>& requests) {
  std::map<std::uint64_t, std::int64_t> seen;  // id -> its full blocks
  Tokens sum = 0;
  for (const Request& r : requests) {
    const std::int64_t limit = (r.prompt_tokens - 1) / 16, full = r.prompt_tokens / 16;
    std::int64_t hit = 0;
    bool going_on = true;
    for (std::size_t i = 0; i < r.prefix->ids.size(); ++i) {
      const std::int64_t per = r.prefix->block_tokens / 16, begin = static_cast<std::int64_t>(i) * per;
      std::int64_t& had = seen[r.prefix->ids[i]];
      if (going_on) hit += std::max<std::int64_t>(0, std::min({had, limit - begin, full - begin, per}));
      going_on = going_on && had == per;
      had = std::max(had, std::min(per, full - begin));
    }
    sum += hit * 16;
  }
  return sum;
}

}  // namespace

TEST_CASE("is a prompt that lies in the host's memory its way over PCIe and what is left of it?") {
  Rig rig(63, {{"host", 1000, false}});
  rig.run(there_and_back());
  const RequestRecord& again = rig.record(2);
  CHECK(again.cached_tokens == 624);  // 39 full blocks; one token at least is computed
  CHECK(again.first_token == again.arrival + load_time(39 * kBlockBytes, kPcie) + rig.chunk({16, 624}));
  REQUIRE(rig.result.kv_tiers.size() == 1);
  CHECK(rig.result.kv_tiers[0].read == 39);
  CHECK(rig.result.kv_tiers[0].written == 40 + 62);
  CHECK(rig.result.kv_loads == 1);
  CHECK(rig.result.kv_load_time == load_time(39 * kBlockBytes, kPcie));
}

TEST_CASE("is what the GPU still has not loaded again?") {
  Rig rig(90, {{"host", 1000, false}});
  rig.run(there_and_back());
  CHECK(rig.record(2).cached_tokens == 624);
  // 90 blocks hold the second prompt's 63 and 27 of the first one's.
  CHECK(rig.result.kv_tiers[0].read == 39 - 27);
}

TEST_CASE("do blocks that are evicted from one tier come from the next?") {
  // Written back: the host holds the first prompt until the second one's blocks go there too.
  auto requests = there_and_back();
  requests.insert(requests.begin() + 2, request(3, 15, 1000, 8, keys(3, 1000)));
  Rig rig(63, {{"host", 64, false}, {"disk", 1000, false}});
  rig.set_tiers({{"host", 64, false}, {"disk", 1000, false}}, KvWrites::back);
  rig.run(requests);
  const RequestRecord& again = rig.record(2);
  CHECK(again.cached_tokens == 624);
  CHECK(rig.result.kv_tiers[1].read == 39);
  CHECK(again.first_token == again.arrival + load_time(39 * kBlockBytes, kDisk) + rig.chunk({16, 624}));
}

TEST_CASE("does one replica load what another one has computed from the storage they share?") {
  Rig rig(63);
  rig.cluster.replicas.push_back(rig.cluster.replicas.front());
  rig.set_tiers({{"remote", 1000, true}}, KvWrites::through);
  rig.run({request(0, 0, 640, 8, keys(1, 640)), request(1, 10, 640, 8, keys(1, 640))});  // round robin
  const RequestRecord& second = rig.record(1);
  CHECK(second.replica == 1);
  CHECK(second.cached_tokens == 624);
  CHECK(second.first_token == second.arrival + load_time(39 * kBlockBytes, kStorage) + rig.chunk({16, 624}));
}

TEST_CASE("is loading that takes longer than computing seen in the time to the first token?") {
  Rig slow(63, {{"host", 1000, false}}), none(63);
  slow.cluster.replicas.front().kv_links.tiers.front().read_bytes_per_s = 1e8;
  slow.run(there_and_back());
  none.run(there_and_back());
  CHECK(slow.record(2).first_token - slow.record(2).arrival >
        2 * (none.record(2).first_token - none.record(2).arrival));
}

TEST_CASE("do others run while one waits for its blocks?") {
  auto requests = there_and_back();
  requests.push_back(request(3, 20.001, 300, 8, keys(4, 300)));
  Rig rig(63, {{"host", 1000, false}});
  rig.cluster.replicas.front().kv_links.tiers.front().read_bytes_per_s = 1e8;
  rig.run(requests);
  CHECK(rig.record(3).done < rig.record(2).first_token);
}

TEST_CASE("is a tier that holds nothing no tier, to the bit?") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Rng rng(seed, "requests");
    const auto requests = random_requests(rng, 80, 0.05);
    Rig none(400, {}, seed % 2 == 0), empty(400, {{"host", 0, false}}, seed % 2 == 0);
    none.run(requests), empty.run(requests);
    REQUIRE(none.records.all.size() == empty.records.all.size());
    for (std::size_t i = 0; i < none.records.all.size(); ++i) {
      CHECK(none.records.all[i].id == empty.records.all[i].id);
      CHECK(none.records.all[i].first_token == empty.records.all[i].first_token);
      CHECK(none.records.all[i].done == empty.records.all[i].done);
    }
    CHECK(none.result.steps == empty.result.steps);
  }
}

TEST_CASE("does a host that forgets nothing hit what a cache without end would?") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Rng rng(seed, "requests");
    const auto requests = random_requests(rng, 100, 10);  // one after the other
    Rig small(170), rig(170, {{"host", 1 << 24, false}});
    small.run(requests), rig.run(requests);
    const Tokens bound = hits_of_an_infinite_cache(requests);
    CHECK(rig.result.prefix_hit_tokens == bound);
    CHECK(small.result.prefix_hit_tokens < bound);
  }
}

TEST_CASE("do the Mooncake conversations hit what their ids repeat, with a host that forgets nothing?") {
  REQUIRE_REFERENCE_DATA(data);
  WorkloadSpec spec;
  spec.trace = data + "/traces/mooncake_conversation.jsonl";
  const auto share = [&](Rig& rig) {
    const auto source = make_source(spec, 1);
    Observer* observers[] = {&rig.records};
    rig.result = simulate(rig.cluster, *source, observers);
    CHECK(rig.result.completed == 12031);
    return static_cast<double>(rig.result.prefix_hit_tokens) /
           static_cast<double>(rig.result.prefix_query_tokens);
  };
  Rig none(40000), host(40000, {{"host", std::int64_t{1} << 40, false}});
  const double without = share(none), with = share(host);
  // 37.4 % of its blocks come again; those of prompts that are being computed cannot all be hit.
  CHECK(with <= 0.3745);
  CHECK(with > 0.365);
  CHECK(without < with - 0.05);
}

TEST_CASE("is a simulation with tiers equal to one step at a time, and no token lost or made twice?") {
  std::int64_t read = 0, preemptions = 0;
  for (std::uint64_t seed = 0; seed < 80; ++seed) {
    Rng rng(seed, "tiers");
    const auto requests = random_requests(rng, 80, rng.uniform(0.01, 0.1));
    Rig fast(rng.uniform_int(170, 500), {}, rng.uniform() < 0.6);
    ReplicaConfig& first = fast.cluster.replicas.front();
    constexpr const char* kSchedulers[] = {"vllm-v1", "vllm-v1", "sglang", "trtllm", "vllm-v0", "fastgen"};
    first.scheduler.scheduler = kSchedulers[seed % std::size(kSchedulers)];
    first.scheduler.enable_mixed_chunk = rng.uniform() < 0.5;
    first.scheduler.reserve_full_isl = rng.uniform() < 0.6;
    first.scheduler.enable_chunked_prefill = rng.uniform() < 0.7;
    first.scheduler.max_num_batched_tokens = first.scheduler.enable_chunked_prefill ? 512 : 3000;
    first.scheduler.max_num_seqs = rng.uniform_int(2, 40);
    first.scheduler.max_model_len = 2700;
    if (seed % 5 == 0) first.engine_cores = 2;
    if (seed % 3 == 0) fast.cluster.replicas.push_back(first);
    std::vector<KvTierConfig> tiers{{"host", rng.uniform_int(0, 1500), false}};
    if (rng.uniform() < 0.5) tiers.push_back({"disk", rng.uniform_int(0, 3000), false});
    if (rng.uniform() < 0.5) tiers.push_back({"remote", rng.uniform_int(0, 3000), true});
    fast.set_tiers(tiers, static_cast<KvWrites>(rng.uniform_int(0, 2)));
    for (ReplicaConfig& replica : fast.cluster.replicas)
      replica.kv_links.tiers.front().read_bytes_per_s = rng.uniform() < 0.5 ? 1e9 : kPcie;
    Rig slow = fast;
    slow.cluster.stepwise = true;
    INFO("seed " << seed);
    fast.run(requests), slow.run(requests);
    REQUIRE(fast.records.all.size() == 80);
    REQUIRE(slow.records.all.size() == 80);
    Tokens asked = 0;
    for (std::size_t i = 0; i < 80; ++i) {
      const RequestRecord &a = fast.records.all[i], &b = slow.records.all[i];
      REQUIRE(a.failure == nullptr);
      asked += a.output_tokens;
      REQUIRE(a.id == b.id);
      REQUIRE(a.scheduled == b.scheduled);
      REQUIRE(a.first_token == b.first_token);
      REQUIRE(a.done == b.done);
      REQUIRE(a.cached_tokens == b.cached_tokens);
      REQUIRE(a.queued <= a.scheduled);
      REQUIRE(a.scheduled < a.first_token);
    }
    REQUIRE(fast.records.tokens == asked);
    REQUIRE(fast.result.kv_load_time == slow.result.kv_load_time);
    REQUIRE(fast.result.kv_tiers.size() == tiers.size());
    for (std::size_t t = 0; t < tiers.size(); ++t) {
      REQUIRE(fast.result.kv_tiers[t].read == slow.result.kv_tiers[t].read);
      REQUIRE(fast.result.kv_tiers[t].written == slow.result.kv_tiers[t].written);
      REQUIRE(fast.result.kv_tiers[t].evicted <= fast.result.kv_tiers[t].written);
      read += fast.result.kv_tiers[t].read;
    }
    preemptions += fast.result.preemptions;
  }
  CHECK(read > 1000);  // the scenarios do reach the hard cases
  CHECK(preemptions > 50);
}
