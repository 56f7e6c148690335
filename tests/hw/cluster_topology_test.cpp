#include "hw/cluster_topology.hpp"

#include <chrono>
#include <set>

#include <catch2/catch.hpp>

#include "base/error.hpp"

using namespace orrery;

namespace {

using Kind = Endpoint::Kind;

ServerGroup servers(int gpus, const std::string& device = "h100-sxm") {
  const DeviceProfile d = load_device(device);
  return {topology_for(d), d.pcie_bytes_per_s, gpus};
}

std::vector<std::string> names(const ClusterTopology& cluster, const Endpoint& from, const Endpoint& to) {
  std::vector<std::string> out;
  for (const int link : cluster.route(from, to).links) {
    out.push_back(cluster.links()[static_cast<std::size_t>(link)].name);
  }
  return out;
}

Endpoint gpu(int index) {
  return {Kind::gpu, index};
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("which links does a transfer pass?") {
  const ClusterTopology cluster({servers(8 * 40)}, load_network("rail-fat-tree"));
  CHECK(cluster.gpus() == 320);
  CHECK(cluster.servers() == 40);
  CHECK(names(cluster, gpu(3), gpu(3)).empty());
  CHECK(names(cluster, gpu(1), gpu(6)) == Names{"server 0 gpu 1 peers out", "server 0 gpu 6 peers in"});
  // One rail, one pod of 32 servers: a single leaf switch. Another rail or another pod: over the spine.
  CHECK(names(cluster, gpu(1), gpu(8 * 31 + 1)) ==
        Names{"server 0 gpu 1 card out", "server 31 gpu 1 card in"});
  CHECK(names(cluster, gpu(1), gpu(8 + 2)) ==
        Names{"server 0 gpu 1 card out", "leaf 1 to spine", "leaf 2 from spine", "server 1 gpu 2 card in"});
  CHECK(names(cluster, gpu(1), gpu(8 * 32 + 1)) ==
        Names{"server 0 gpu 1 card out", "leaf 1 to spine", "leaf 9 from spine", "server 32 gpu 1 card in"});
  CHECK(names(cluster, gpu(9), {Kind::host, 1}) == Names{"server 1 gpu 1 host out"});
  CHECK(names(cluster, {Kind::disk, 1}, gpu(9)) == Names{"server 1 disk read", "server 1 gpu 1 host in"});
  CHECK(names(cluster, {Kind::storage, 0}, gpu(9)) == Names{"server 1 storage in", "server 1 gpu 1 host in"});
  CHECK(names(cluster, {Kind::host, 0}, gpu(9)) ==
        Names{"server 0 gpu 1 card out", "server 1 gpu 1 card in"});
  CHECK(cluster.route(gpu(1), gpu(9)).leaves_server);
  CHECK_FALSE(cluster.route(gpu(1), gpu(2)).leaves_server);
}

TEST_CASE("how fast are the links of a switched, a meshed and a PCIe server?") {
  const auto rate = [](const ClusterTopology& cluster, int from, int to) {
    double slowest = 1e18;
    for (const int link : cluster.route({Kind::gpu, from}, {Kind::gpu, to}).links)
      slowest = std::min(slowest, cluster.links()[static_cast<std::size_t>(link)].bytes_per_s);
    return slowest;
  };
  const auto network = load_network("rail-fat-tree");
  CHECK(rate(ClusterTopology({servers(16)}, network), 0, 1) == 4.5e11);
  CHECK(rate(ClusterTopology({servers(16)}, network), 0, 8) == 5e10);
  CHECK(rate(ClusterTopology({servers(8, "mi300x")}, network), 0, 1) ==
        Approx(64e9));  // one link to each peer
  const ClusterTopology pcie({servers(8, "l40s")}, network);
  CHECK(rate(pcie, 0, 1) == load_device("l40s").pcie_bytes_per_s);
  CHECK(names(pcie, gpu(0), gpu(1)) == Names{"server 0 gpu 0 host out", "server 0 gpu 1 host in"});
}

TEST_CASE("does an oversubscribed spine carry that much less than its leaf's cards send?") {
  const ClusterTopology cluster({servers(8 * 8)}, load_network("top-of-rack"));  // four servers a leaf, 2:1
  const Names over = names(cluster, gpu(0), gpu(8 * 4));
  REQUIRE(over.size() == 4);
  CHECK(over[1] == "leaf 0 to spine");
  CHECK(names(cluster, gpu(0), gpu(8 * 3 + 5)).size() == 2);
  for (const FabricLink& link : cluster.links()) {
    if (link.name == "leaf 0 to spine") CHECK(link.bytes_per_s == 4 * 8 * 5e10 / 2);
  }
}

TEST_CASE("do servers of two kinds stand in one cluster, the last one half full?") {
  const ClusterTopology cluster({servers(8), servers(12, "a100-sxm-80g")}, load_network("rail-fat-tree"));
  CHECK(cluster.servers() == 3);
  CHECK(cluster.server_of(8) == 1);
  CHECK(cluster.server_of(19) == 2);
  const Route route = cluster.route(gpu(0), gpu(16));
  CHECK(cluster.links()[static_cast<std::size_t>(route.links.front())].bytes_per_s == 5e10);
  CHECK(cluster.links()[static_cast<std::size_t>(route.links.back())].bytes_per_s == 2.5e10);
}

TEST_CASE("are 10,000 GPUs built in a second, without a table of routes?") {
  const auto started = std::chrono::steady_clock::now();
  const ClusterTopology cluster({servers(10000)}, load_network("rail-fat-tree"));
  CHECK(std::chrono::steady_clock::now() - started < std::chrono::seconds(1));
  CHECK(cluster.gpus() == 10000);
  CHECK(cluster.route(gpu(0), gpu(9999)).links.size() == 4);
}

TEST_CASE("what is a cluster that cannot be told?") {
  CHECK_THROWS_WITH(load_network("rail-fat-tre"), Catch::Contains("unknown network 'rail-fat-tre'"));
  ServerGroup lonely = servers(16);
  lonely.node.nic_bytes_per_s = 0;
  CHECK_THROWS_WITH(ClusterTopology({lonely}, load_network("rail-fat-tree")),
                    Catch::Contains("no way to each other"));
  CHECK_THROWS_AS(ClusterTopology({}, load_network("rail-fat-tree")), ConfigError);
  CHECK_THROWS_AS(ClusterTopology({servers(0)}, load_network("rail-fat-tree")), ConfigError);
}
