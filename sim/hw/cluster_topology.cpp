#include "hw/cluster_topology.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

ClusterTopology::ClusterTopology(std::vector<ServerGroup> groups, NetworkProfile network)
    : network_(std::move(network)) {
  for (const ServerGroup& group : groups) {
    if (group.gpus < 1) throw ConfigError("a group of servers needs at least one GPU");
    leaves_per_pod_ = std::max(leaves_per_pod_, network_.rails ? group.node.gpus_per_node : 1);
  }
  for (const ServerGroup& group : groups) {
    for (int left = group.gpus; left > 0; left -= group.node.gpus_per_node) {
      add_server(group, std::min(left, group.node.gpus_per_node), fmt::format("server {}", servers()));
    }
  }
  if (groups.empty()) throw ConfigError("a cluster needs at least one server");
  const bool cards = std::all_of(groups.begin(), groups.end(),
                                 [](const ServerGroup& g) { return g.node.nic_bytes_per_s > 0; });
  if (servers() > 1 && !cards) throw ConfigError("servers without network cards have no way to each other");
  add_leaves();
}

int ClusterTopology::add_link(std::string name, double bytes_per_s) {
  links_.push_back({std::move(name), bytes_per_s});
  return static_cast<int>(links_.size()) - 1;
}

void ClusterTopology::add_server(const ServerGroup& group, int gpus, const std::string& name) {
  Server server;
  server.first_gpu = this->gpus(), server.gpus = gpus, server.pod = servers() / network_.servers_per_pod;
  server.first_link = static_cast<int>(links_.size());
  const double peers = group.node.gpu_link_bytes_per_s;
  if (peers <= group.pcie_bytes_per_s) {
    server.peers = Peers::by_host;
  } else if (!group.node.all_to_all) {
    server.peers = Peers::by_mesh;
  }
  leaf_rates_.resize(static_cast<std::size_t>((server.pod + 1) * leaves_per_pod_));
  for (int g = 0; g < gpus; ++g) {
    const std::string gpu = fmt::format("{} gpu {} ", name, g);
    for (const char* way : {"peers out", "peers in"}) add_link(gpu + way, peers);
    for (const char* way : {"host out", "host in"}) add_link(gpu + way, group.pcie_bytes_per_s);
    for (const char* way : {"card out", "card in"}) add_link(gpu + way, group.node.nic_bytes_per_s);
    server_of_.push_back(servers());
    const int leaf = server.pod * leaves_per_pod_ + (network_.rails ? g : 0);
    leaf_rates_[static_cast<std::size_t>(leaf)] += group.node.nic_bytes_per_s;
  }
  add_link(name + " disk read", network_.disk_read_bytes_per_s);
  add_link(name + " disk write", network_.disk_write_bytes_per_s);
  for (const char* way : {" storage out", " storage in"}) add_link(name + way, network_.storage_bytes_per_s);
  server.first_mesh = static_cast<int>(links_.size());
  for (int a = 0; server.peers == Peers::by_mesh && a < gpus; ++a) {
    for (int b = 0; b < gpus; ++b) {
      add_link(fmt::format("{} gpu {} to {}", name, a, b), peers / std::max(1, group.node.gpus_per_node - 1));
    }
  }
  servers_.push_back(server);
}

void ClusterTopology::add_leaves() {
  first_leaf_ = static_cast<int>(links_.size());
  for (std::size_t leaf = 0; leaf < leaf_rates_.size(); ++leaf) {
    const double rate = leaf_rates_[leaf] / network_.spine_oversubscription;
    for (const char* way : {"to spine", "from spine"}) add_link(fmt::format("leaf {} {}", leaf, way), rate);
  }
}

int ClusterTopology::gpu_link(int gpu, GpuLink which) const {
  const Server& s = servers_[static_cast<std::size_t>(server_of(gpu))];
  return s.first_link + (gpu - s.first_gpu) * gpu_links + which;
}

int ClusterTopology::server_link(int server, ServerLink which) const {
  const Server& s = servers_[static_cast<std::size_t>(server)];
  return s.first_link + s.gpus * gpu_links + which;
}

int ClusterTopology::leaf_of(int server, int card) const {
  return servers_[static_cast<std::size_t>(server)].pod * leaves_per_pod_ + (network_.rails ? card : 0);
}

/// The GPU whose card serves `gpu` of another server: on its rail if there is one.
int ClusterTopology::card_beside(int server, int gpu) const {
  const Server& s = servers_[static_cast<std::size_t>(server)];
  return s.first_gpu + local(gpu) % s.gpus;
}

void ClusterTopology::inside(int from, int to, Route& route) const {
  const Server& s = servers_[static_cast<std::size_t>(server_of(from))];
  if (s.peers == Peers::by_mesh) {
    route.links = {s.first_mesh + local(from) * s.gpus + local(to)};
  } else if (s.peers == Peers::by_host) {
    route.links = {gpu_link(from, host_out), gpu_link(to, host_in)};
  } else {
    route.links = {gpu_link(from, peers_out), gpu_link(to, peers_in)};
  }
}

void ClusterTopology::between(int from_gpu, int to_gpu, Route& route) const {
  const int out = leaf_of(server_of(from_gpu), local(from_gpu));
  const int in = leaf_of(server_of(to_gpu), local(to_gpu));
  route.leaves_server = true;
  route.links.push_back(gpu_link(from_gpu, card_out));
  if (out != in) {
    route.links.push_back(first_leaf_ + 2 * out);
    route.links.push_back(first_leaf_ + 2 * in + 1);
  }
  route.links.push_back(gpu_link(to_gpu, card_in));
}

Route ClusterTopology::route(const Endpoint& from, const Endpoint& to) const {
  using Kind = Endpoint::Kind;
  Route route;
  if (from == to) return route;
  if (from.kind == Kind::storage || to.kind == Kind::storage) {
    // The storage fabric is its own: it ends in the host, whence bytes of GPUs and drives go on.
    const bool reads = from.kind == Kind::storage;
    const Endpoint end = reads ? to : from;
    const int server = end.kind == Kind::gpu ? server_of(end.index) : end.index;
    route.leaves_server = true;
    route.links = {server_link(server, reads ? storage_in : storage_out)};
    if (end.kind == Kind::gpu) route.links.push_back(gpu_link(end.index, reads ? host_in : host_out));
    if (end.kind == Kind::disk) route.links.push_back(server_link(server, reads ? disk_write : disk_read));
    return route;
  }
  const int source = from.kind == Kind::gpu ? server_of(from.index) : from.index;
  const int target = to.kind == Kind::gpu ? server_of(to.index) : to.index;
  if (source == target && from.kind == Kind::gpu && to.kind == Kind::gpu) {
    inside(from.index, to.index, route);
    return route;
  }
  if (from.kind == Kind::disk) route.links.push_back(server_link(source, disk_read));
  if (source != target) {
    // Cards read and write host memory as they do their GPU's: no way over PCIe is shared with it.
    const int first = servers_[static_cast<std::size_t>(source)].first_gpu;
    const int from_gpu = from.kind == Kind::gpu ? from.index
                         : to.kind == Kind::gpu ? card_beside(source, to.index)
                                                : first;
    const int to_gpu = to.kind == Kind::gpu ? to.index : card_beside(target, from_gpu);
    between(from_gpu, to_gpu, route);
  } else {
    if (from.kind == Kind::gpu) route.links.push_back(gpu_link(from.index, host_out));
    if (to.kind == Kind::gpu) route.links.push_back(gpu_link(to.index, host_in));
  }
  if (to.kind == Kind::disk) route.links.push_back(server_link(target, disk_write));
  return route;
}

}  // namespace orrery
