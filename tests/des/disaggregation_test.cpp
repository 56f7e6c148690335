// Prompts on some replicas, decoding on others, KV caches over a fabric between. Expected times are sums of
// the pricer's steps and of the fabric's transfers, written out here.
#include <algorithm>
#include <map>

#include <catch2/catch.hpp>

#include "base/rng.hpp"
#include "cost/alpha_beta.hpp"
#include "des/fabric.hpp"
#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

constexpr double kKvBytes = 131072;  ///< Llama-3.1-8B: 32 layers, 8 heads of 128, two of 16 bits
constexpr int kLayers = 32;
constexpr double kCard = 5e10;

/// Transfers as they were told, and what went out and came in.
class Told final : public Observer {
 public:
  std::map<RequestId, KvTransfer> transfers;
  std::map<RequestId, RequestRecord> records;
  std::int64_t tokens = 0, resumed = 0;
  void on_kv_transfer(const KvTransfer& t) override { CHECK(transfers.emplace(t.request, t).second); }
  void on_request_done(const RequestRecord& r) override { CHECK(records.emplace(r.id, r).second); }
  void on_decode_run(const DecodeRun& r) override { tokens += r.tokens(); }
  void on_mixed_step(const MixedStep& s) override {
    tokens += s.decode_seqs + s.extra_tokens;
    for (const auto& c : s.chunks) tokens += c.last;
  }
  void on_resumed(RequestId, CoreId, Ps) override { ++resumed; }
};

struct Rig {
  std::shared_ptr<StepPricer> price;
  ClusterConfig cluster;
  Told told;

  explicit Rig(int prefill, int decode, const std::string& fabric = "uncontended", bool overlap = false,
               bool async = false, std::int64_t blocks = 5000) {
    KernelPlan plan;
    plan.async_scheduling = async;
    price = test::pricer(load_model("llama-3.1-8b"), plan);
    ReplicaConfig replica;
    replica.scheduler.async_scheduling = async;
    replica.scheduler.max_num_batched_tokens = 2048;
    replica.kv = {blocks, 16, false};
    replica.pricer = price;
    for (int i = 0; i < prefill + decode; ++i) {
      replica.role = i < prefill ? Role::prefill : Role::decode;
      replica.scheduler.hands_over = i < prefill;
      replica.first_gpu = i;
      cluster.replicas.push_back(replica);
    }
    Topology node;
    node.gpus_per_node = 1, node.gpu_link_bytes_per_s = 4.5e11, node.nic_bytes_per_s = kCard;
    HandoverConfig handover;
    handover.overlap = overlap, handover.layers = kLayers;
    const std::vector<ServerGroup> group{{node, 6.4e10, prefill + decode}};
    cluster.fabric = {std::make_shared<ClusterTopology>(group, NetworkProfile{}), fabric};
    handover.kv_bytes = [](Tokens tokens) { return kKvBytes * static_cast<double>(tokens); };
    cluster.handover = handover;
  }
  SimulationResult run(const std::vector<Request>& requests) {
    test::ListSource source(requests);
    Observer* observers[] = {&told};
    return simulate(cluster, source, observers);
  }
  Ps prefill(Tokens tokens) { return chunk({tokens, 0}); }
  Ps chunk(PrefillChunk c, DecodeSet set = {}) { return price->mixed(set, {&c, 1}); }
  Ps decode(Tokens context) {
    DecodeSet set;
    set.seqs = 1, set.context = context;
    return price->decode(set).first;
  }
};

Request request(RequestId id, Ps arrival, std::int32_t prompt, std::int32_t output) {
  Request r;
  r.id = id, r.arrival = arrival, r.prompt_tokens = prompt, r.output_tokens = output;
  return r;
}

Ps transfer_time(double bytes) {
  const AlphaBeta links;
  return to_ps(Seconds(bytes / (kCard * links.link_efficiency))) + to_ps(Seconds(links.network_hop_s));
}

std::vector<Request> random_requests(std::uint64_t seed, int count) {
  Rng rng(seed, "requests");
  std::vector<Request> out;
  Ps now{0};
  for (int i = 0; i < count; ++i) {
    now += Ps(rng.uniform_int(0, 60) * 1'000'000'000);
    out.push_back(request(i, now, static_cast<std::int32_t>(rng.uniform_int(1, 3000)),
                          static_cast<std::int32_t>(rng.uniform_int(1, 60))));
  }
  return out;
}

bool simgrid() {
  try {
    Fabric(*Rig(1, 1).cluster.fabric->topology, "simgrid");
    return true;
  } catch (const ConfigError& e) {
    WARN("skipped: " << e.what());
    return false;
  }
}

}  // namespace

TEST_CASE("is a lone request its prompt, its transfer and its decode steps, one after the other?") {
  for (const bool async : {false, true}) {
    Rig rig(1, 1, "uncontended", false, async);
    rig.run({request(0, Ps(7), 1000, 4)});
    const RequestRecord& r = rig.told.records.at(0);
    const Ps moved = transfer_time(1000 * kKvBytes);
    CHECK(r.first_token == Ps(7) + rig.prefill(1000));
    const KvTransfer& t = rig.told.transfers.at(0);
    CHECK(t.bytes == 1000 * kKvBytes);
    CHECK(t.prefilled == r.first_token);
    CHECK(t.start == r.first_token);  // the other replica is idle: blocks are there at once
    CHECK(t.end == t.start + moved);
    CHECK(r.done == r.first_token + moved + rig.chunk({1, 1000}) + rig.decode(1002) + rig.decode(1003));
    CHECK(rig.told.tokens == 4);
    CHECK(rig.told.resumed == 1);  // the second token's gap holds the transfer
  }
}

TEST_CASE("does sending layers as they are computed leave the last layer's part to wait for?") {
  // Splitwise, section 4.2 and figure 14: what remains visible is about one layer's share.
  Rig rig(1, 1, "uncontended", true);
  rig.run({request(0, Ps(0), 2000, 4)});
  const KvTransfer& t = rig.told.transfers.at(0);
  REQUIRE(rig.prefill(2000) > transfer_time(2000 * kKvBytes));
  CHECK(t.reserved == Ps(0));
  CHECK(t.exposed() == transfer_time(2000 * kKvBytes / kLayers));
}

TEST_CASE("is a transfer that is slower than its prompt exposed by what the prompt did not cover?") {
  Rig rig(1, 1, "uncontended", true);
  rig.cluster.handover->kv_bytes = [](Tokens tokens) { return 100 * kKvBytes * static_cast<double>(tokens); };
  rig.run({request(0, Ps(0), 2000, 4)});
  const KvTransfer& t = rig.told.transfers.at(0);
  const double bytes = 100 * 2000 * kKvBytes;
  const Ps begun = rig.prefill(2000) / kLayers;
  CHECK(t.end == begun + transfer_time(bytes * (kLayers - 1) / kLayers) + transfer_time(bytes / kLayers));
}

TEST_CASE("is TTFT on an infinite fabric that of the prefill pool alone?") {
  // Its replicas' caches are never full here; then nothing behind the first token can reach it.
  const auto requests = random_requests(3, 200);
  for (const bool overlap : {false, true}) {
    Rig split(2, 2, "infinite", overlap), alone(2, 1, "infinite", overlap);
    split.run(requests);
    alone.cluster.replicas.resize(2);
    alone.cluster.handover.reset();
    for (auto& replica : alone.cluster.replicas)
      replica.scheduler.hands_over = false, replica.role = Role::both;
    std::vector<Request> prompts = requests;
    for (Request& r : prompts) r.output_tokens = 1;
    alone.run(prompts);
    for (const Request& r : requests) {
      CHECK(split.told.records.at(r.id).first_token == alone.told.records.at(r.id).first_token);
    }
    for (const auto& [id, t] : split.told.transfers) CHECK(t.end == std::max(t.prefilled, t.reserved));
  }
}

TEST_CASE("do three prompts at once hold each other's transfers back out of one card?") {
  if (!simgrid()) return;
  Rig shared(1, 3, "simgrid"), own(1, 3, "uncontended");
  const std::vector<Request> requests{request(0, Ps(0), 600, 9), request(1, Ps(0), 600, 9),
                                      request(2, Ps(0), 600, 9)};
  shared.run(requests), own.run(requests);
  for (int i = 0; i < 3; ++i) {
    const AlphaBeta links;
    const double alone_s = 600 * kKvBytes / (kCard * links.link_efficiency);
    CHECK(to_seconds(own.told.transfers.at(i).exposed()).value == Approx(alone_s + links.network_hop_s));
    CHECK(to_seconds(shared.told.transfers.at(i).exposed()).value ==
          Approx(3 * alone_s + links.network_hop_s));
  }
}

TEST_CASE("do prompts wait while their replica's blocks are held for transfers nobody takes?") {
  // Either replica's blocks hold two of these; the fifth prompt has to wait until the first is decoded.
  Rig rig(1, 1, "uncontended", false, false, 401);
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) requests.push_back(request(i, Ps(0), 3000, 150));
  rig.run(requests);
  REQUIRE(rig.told.records.size() == 6);
  for (int i = 4; i < 6; ++i) {
    const Ps begun = rig.told.records.at(i).scheduled;
    int done = 0;
    for (const auto& [id, record] : rig.told.records) done += record.done <= begun;
    CHECK(done >= i - 3);
  }
  CHECK(rig.told.records.at(3).scheduled < rig.told.records.at(0).done);
}

TEST_CASE("is no block, token or byte lost or doubled, over random hand-overs, and is stepwise equal?") {
  const bool contended = simgrid();
  for (std::uint64_t seed = 0; seed < 24; ++seed) {
    const std::string fabric = contended && seed % 3 != 0 ? "simgrid" : "uncontended";
    const bool overlap = seed % 2 == 0, async = seed % 4 < 2;
    const int prefill = 1 + static_cast<int>(seed % 3), decode = 1 + static_cast<int>(seed / 3 % 3);
    const std::int64_t blocks = seed % 5 == 0 ? 300 : 900;  // preemptions where few
    const auto requests = random_requests(seed, 150);
    Rig fast(prefill, decode, fabric, overlap, async, blocks),
        slow(prefill, decode, fabric, overlap, async, blocks);
    slow.cluster.stepwise = true;
    INFO("seed " << seed);
    const SimulationResult result = fast.run(requests);
    slow.run(requests);
    CHECK(result.completed == 150);
    Tokens asked = 0;
    for (const Request& r : requests) {
      asked += r.output_tokens;
      const RequestRecord& record = fast.told.records.at(r.id);
      CHECK(record.arrival <= record.scheduled);
      CHECK(record.scheduled < record.first_token);
      CHECK(record.first_token <= record.done);
      const RequestRecord& twin = slow.told.records.at(r.id);
      CHECK(record.first_token == twin.first_token);
      CHECK(record.done == twin.done);
      CHECK(record.replica == twin.replica);
      if (r.output_tokens == 1) continue;
      const KvTransfer& t = fast.told.transfers.at(r.id);
      CHECK(t.bytes == kKvBytes * r.prompt_tokens);
      CHECK(t.prefilled == record.first_token);
      CHECK(t.end >= std::max(t.prefilled, t.reserved));
      CHECK(t.end < record.done);
      CHECK(t.end == slow.told.transfers.at(r.id).end);
    }
    CHECK(fast.told.tokens == asked);
  }
}

TEST_CASE("is a request that the decode pool can never hold failed, and no obstacle to the others?") {
  for (const bool overlap : {false, true}) {
    Rig rig(1, 1, "uncontended", overlap);
    rig.cluster.replicas[1].kv.blocks = 101;  // 1,600 tokens
    const SimulationResult result = rig.run(
        {request(0, Ps(0), 2000, 50), request(1, Ps(0), 1000, 50), request(2, ps_from_ms(900), 1900, 50)});
    CHECK(result.failed == 2);
    CHECK(result.completed == 1);
    CHECK(rig.told.records.at(0).failure != nullptr);
    CHECK(rig.told.records.at(1).failure == nullptr);
  }
}
