// What transfers take when they share links. Expected times are sums over AlphaBeta's share of wire rates,
// written out here; max-min shares are those of textbook examples.
#include "des/fabric.hpp"

#include <algorithm>
#include <numeric>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/rng.hpp"
#include "cost/alpha_beta.hpp"

using namespace orrery;

namespace {

constexpr AlphaBeta kLinks{};

/// Servers of eight GPUs; 450 GB/s to peers, 50 GB/s cards, PCIe 64 GB/s; two servers a pod, spine 2:1.
ClusterTopology cluster(int gpus, double oversubscription = 1, int servers_per_pod = 32) {
  Topology node;
  node.gpus_per_node = 8, node.gpu_link_bytes_per_s = 4.5e11, node.nic_bytes_per_s = 5e10;
  NetworkProfile network;
  network.rails = false, network.servers_per_pod = servers_per_pod;
  network.spine_oversubscription = oversubscription;
  network.storage_bytes_per_s = 4e10, network.disk_read_bytes_per_s = 2e10;
  network.disk_write_bytes_per_s = 1e10;
  return ClusterTopology({{node, 6.4e10, gpus}}, network);
}

Endpoint gpu(int index) {
  return {Endpoint::Kind::gpu, index};
}

/// SimGrid where it is built in.
std::unique_ptr<Fabric> contended(ClusterTopology topology) {
  try {
    return std::make_unique<Fabric>(std::move(topology), "simgrid");
  } catch (const ConfigError& e) {
    WARN("skipped: " << e.what());
    return nullptr;
  }
}

/// Lets everything end; returns when the last transfer did.
Ps drain(Fabric& fabric) {
  Ps last{0};
  for (Ps next = fabric.next_event(kNever); next != kNever; next = fabric.next_event(kNever)) {
    fabric.advance(next);
    last = next;
  }
  return last;
}

double seconds_at(double bytes, double wire_rate) {
  return bytes / (wire_rate * kLinks.link_efficiency);
}

double flow_s(Ps end, bool leaves_server) {
  return to_seconds(end).value - (leaves_server ? kLinks.network_hop_s : kLinks.hop_s);
}

}  // namespace

TEST_CASE("is a lone transfer its bytes at its slowest link's rate and one hop?") {
  for (const std::string flows : {"uncontended", "simgrid"}) {
    if (flows == "simgrid" && !contended(cluster(16))) return;
    Fabric fabric(cluster(16), flows);
    Ps inside{0}, across{0}, read{0};
    fabric.transfer(gpu(0), gpu(1), Bytes(1e9), Ps(0), [&](Ps at) { inside = at; });
    fabric.transfer(gpu(2), gpu(10), Bytes(1e9), Ps(0), [&](Ps at) { across = at; });
    fabric.transfer({Endpoint::Kind::disk, 0}, gpu(4), Bytes(1e9), Ps(0), [&](Ps at) { read = at; });
    drain(fabric);
    CHECK(flow_s(inside, false) == Approx(seconds_at(1e9, 4.5e11)).epsilon(1e-6));
    CHECK(flow_s(across, true) == Approx(seconds_at(1e9, 5e10)).epsilon(1e-6));
    CHECK(flow_s(read, false) == Approx(seconds_at(1e9, 2e10)).epsilon(1e-6));
    CHECK(fabric.bytes_started() == fabric.bytes_delivered());
  }
}

TEST_CASE("do transfers out of one card share it evenly, however long their ways are?") {
  auto fabric = contended(cluster(32, 1, 2));
  if (!fabric) return;
  Ps near{0}, far{0};
  fabric->transfer(gpu(0), gpu(8), Bytes(1e9), Ps(0), [&](Ps at) { near = at; });
  fabric->transfer(gpu(0), gpu(16), Bytes(1e9), Ps(0), [&](Ps at) { far = at; });  // over the spine
  drain(*fabric);
  CHECK(flow_s(near, true) == Approx(seconds_at(2e9, 5e10)).epsilon(1e-6));
  CHECK(near == far);
}

TEST_CASE("are shares max-min fair: does who is held elsewhere leave its part to the others?") {
  // Three flows into one card and one flow out of a card that also sends into it (Bertsekas and Gallager,
  // Data Networks, section 6.5.2): the three get a third each, and the fourth the two thirds that are left.
  auto fabric = contended(cluster(32));
  if (!fabric) return;
  std::array<Ps, 4> end{};
  for (int i = 0; i < 3; ++i) {
    fabric->transfer(gpu(8 * i), gpu(24), Bytes(1e9), Ps(0),
                     [&end, i](Ps at) { end[static_cast<std::size_t>(i)] = at; });
  }
  fabric->transfer(gpu(0), gpu(25), Bytes(2e9), Ps(0), [&](Ps at) { end[3] = at; });
  drain(*fabric);
  for (const Ps at : end) CHECK(flow_s(at, true) == Approx(seconds_at(3e9, 5e10)).epsilon(1e-6));
}

TEST_CASE("does a transfer that starts later slow down one under way, and speed up when alone?") {
  auto fabric = contended(cluster(16));
  if (!fabric) return;
  const double alone = seconds_at(1e9, 5e10);
  Ps first{0}, second{0};
  fabric->transfer(gpu(0), gpu(8), Bytes(1e9), Ps(0), [&](Ps at) { first = at; });
  const Ps half = to_ps(Seconds(alone / 2));
  CHECK(fabric->next_event(half) == kNever);
  fabric->transfer(gpu(0), gpu(9), Bytes(1e9), half, [&](Ps at) { second = at; });
  drain(*fabric);
  // Half alone, the other half at half rate; the second shares for as long, then has the card to itself.
  CHECK(flow_s(first, true) == Approx(1.5 * alone).epsilon(1e-6));
  CHECK(flow_s(second, true) == Approx(2 * alone).epsilon(1e-6));
}

TEST_CASE("does an oversubscribed spine hold back what its leaf's cards could send?") {
  const auto last = [](double oversubscription) {
    auto fabric = contended(cluster(32, oversubscription, 2));
    if (!fabric) return 0.0;
    for (int g = 0; g < 16; ++g) fabric->transfer(gpu(g), gpu(16 + g), Bytes(1e9), Ps(0), [](Ps) {});
    return flow_s(drain(*fabric), true);
  };
  const double full = last(1);
  if (full == 0) return;
  CHECK(full == Approx(seconds_at(1e9, 5e10)).epsilon(1e-6));
  CHECK(last(4) == Approx(4 * full).epsilon(1e-6));
}

TEST_CASE("does sharing only ever delay, and is every byte delivered once?") {
  if (!contended(cluster(64))) return;
  Rng rng(7, "fabric");
  struct Case {
    int from, to;
    double bytes;
    Ps start;
  };
  std::vector<Case> cases;
  Ps now{0};
  for (int i = 0; i < 300; ++i) {
    now += Ps(rng.uniform_int(0, 2'000'000'000));
    const int from = static_cast<int>(rng.uniform_int(0, 63)), to = static_cast<int>(rng.uniform_int(0, 63));
    cases.push_back({from, to, static_cast<double>(rng.uniform_int(0, 400'000'000)), now});
  }
  const auto run = [&](const std::string& flows, int looks) {
    Fabric fabric(cluster(64), flows);
    std::vector<Ps> ends(cases.size());
    const auto until = [&](Ps horizon) {
      for (Ps next = fabric.next_event(horizon); next != kNever; next = fabric.next_event(horizon))
        fabric.advance(next);
    };
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Case& c = cases[i];
      const Ps before = i == 0 ? Ps(0) : cases[i - 1].start;
      for (int k = 1; k <= looks; ++k) until(before + (c.start - before) / looks * k);
      until(c.start);
      fabric.transfer(gpu(c.from), gpu(c.to), Bytes(c.bytes), c.start, [&ends, i](Ps at) { ends[i] = at; });
    }
    drain(fabric);
    CHECK(fabric.in_flight() == 0);
    CHECK(fabric.bytes_started() == Approx(fabric.bytes_delivered()).epsilon(1e-12));
    return ends;
  };
  const auto alone = run("uncontended", 1), shared = run("simgrid", 1);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    INFO("transfer " << i);
    CHECK(shared[i] + Ps(1000) >= alone[i]);
  }
  // To the bit: run again in the same process, and asked for the time more often in between.
  CHECK(run("simgrid", 1) == shared);
  CHECK(run("simgrid", 7) == shared);
  const auto at_once = run("infinite", 1);
  for (std::size_t i = 0; i < cases.size(); ++i) CHECK(at_once[i] == cases[i].start);
}

TEST_CASE("does a split transfer end with its last part, and use every GPU's link?") {
  for (const auto& [sources, targets] : {std::pair{4, 4}, {2, 8}, {8, 2}, {1, 1}}) {
    Fabric fabric(cluster(16), "uncontended");
    Ps end{0};
    int calls = 0;
    fabric.transfer_sharded(0, sources, 8, targets, Bytes(8e9), Ps(0), [&](Ps at) { end = at, ++calls; });
    drain(fabric);
    CHECK(calls == 1);
    CHECK(flow_s(end, true) == Approx(seconds_at(8e9 / std::max(sources, targets), 5e10)));
  }
}

TEST_CASE("can a second contended fabric stand beside the first?") {
  auto fabric = contended(cluster(16));
  if (!fabric) return;
  CHECK_THROWS_WITH(Fabric(cluster(16), "simgrid"), Catch::Contains("one contended fabric at a time"));
  fabric.reset();
  CHECK_NOTHROW(Fabric(cluster(16), "simgrid"));
}

TEST_CASE("are 10,000 GPUs on a contended fabric built in seconds?") {
  auto fabric = contended(cluster(10000));
  if (!fabric) return;
  Ps end{0};
  fabric->transfer(gpu(0), gpu(9999), Bytes(1e9), Ps(0), [&](Ps at) { end = at; });
  drain(*fabric);
  CHECK(flow_s(end, true) == Approx(seconds_at(1e9, 5e10)).epsilon(1e-6));
}
