#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hw/device_profile.hpp"

namespace orrery {

/// How servers are joined, from hwprofiles/networks/<name>.json.
struct NetworkProfile {
  std::string name;  ///< "rail-fat-tree"
  /// The i-th card of every server in a pod ends in one leaf switch of its own (a rail); else all cards of a
  /// pod's servers end in the same.
  bool rails = true;
  int servers_per_pod = 32;           ///< under one set of leaf switches
  double spine_oversubscription = 1;  ///< what a leaf's cards can send over what it can send on to the spine
  double storage_bytes_per_s = 0;     ///< per server and direction, to storage that all share
  double disk_read_bytes_per_s = 0;   ///< of a server's own drives
  double disk_write_bytes_per_s = 0;
};

/// By name, or a path to a file. Errors: ConfigError with the names there are.
NetworkProfile load_network(const std::string& name_or_path);

/// Where bytes lie: a GPU's memory (cluster-wide index), a server's host memory or own drives, or the storage
/// that all servers share.
struct Endpoint {
  enum class Kind : std::uint8_t { gpu, host, disk, storage };
  Kind kind = Kind::gpu;
  int index = 0;  ///< of the GPU, or of the server
  bool operator==(const Endpoint&) const = default;
};

/// Something that transfers share, one direction of it.
struct FabricLink {
  std::string name;  ///< "server 3 gpu 5 nic out"
  double bytes_per_s = 0;
};

/// What a transfer passes.
struct Route {
  std::vector<int> links;  ///< of ClusterTopology::links(); none = the bytes are there already
  bool leaves_server = false;
};

/// Servers of one kind; the last one may hold fewer GPUs.
struct ServerGroup {
  Topology node;
  double pcie_bytes_per_s = 0;  ///< between a GPU and its host, per direction
  int gpus = 0;
};

/// A cluster as links and the routes over them. Each GPU has its link to the others of its server (through a
/// switch, or one to each peer), its way to the host and its network card; each pod has leaf switches that
/// lead to a spine, whose own links are wide enough. Routes are computed, not stored: 10,000 GPUs take
/// memory for their links only.
class ClusterTopology {
 public:
  /// Servers are numbered, and their GPUs, in the order of `groups`. Errors: ConfigError for a group without
  /// GPUs, or for servers that have no way to each other.
  ClusterTopology(std::vector<ServerGroup> groups, NetworkProfile network);

  int gpus() const { return static_cast<int>(server_of_.size()); }
  int servers() const { return static_cast<int>(servers_.size()); }
  int server_of(int gpu) const { return server_of_[static_cast<std::size_t>(gpu)]; }
  const std::vector<FabricLink>& links() const { return links_; }
  /// Bytes of one endpoint go by `route` to another. Between two servers' GPUs: out of the one's card, over
  /// the spine unless both cards end in one leaf switch, into the other's card.
  Route route(const Endpoint& from, const Endpoint& to) const;

 private:
  /// How GPUs of one server reach each other: one link each into a switch, a link to each, or as they reach
  /// their host.
  enum class Peers : std::uint8_t { by_switch, by_mesh, by_host };
  struct Server {
    int first_gpu = 0, gpus = 0, pod = 0;
    Peers peers = Peers::by_switch;
    int first_link = 0;
    int first_mesh = 0;
  };
  /// Links of a GPU, in this order from its first one.
  enum GpuLink : int { peers_out, peers_in, host_out, host_in, card_out, card_in, gpu_links };
  /// Links of a server, behind those of its GPUs.
  enum ServerLink : int { disk_read, disk_write, storage_out, storage_in, server_links };

  void add_server(const ServerGroup& group, int gpus, const std::string& name);
  void add_leaves();
  int add_link(std::string name, double bytes_per_s);
  int local(int gpu) const { return gpu - servers_[static_cast<std::size_t>(server_of(gpu))].first_gpu; }
  int gpu_link(int gpu, GpuLink which) const;
  int server_link(int server, ServerLink which) const;
  int leaf_of(int server, int card) const;
  void inside(int from, int to, Route& route) const;
  void between(int from_gpu, int to_gpu, Route& route) const;
  int card_beside(int server, int gpu) const;

  NetworkProfile network_;
  std::vector<FabricLink> links_;
  std::vector<Server> servers_;
  std::vector<int> server_of_;      ///< by GPU
  std::vector<double> leaf_rates_;  ///< what the cards at each leaf switch can send in all
  int leaves_per_pod_ = 1;
  int first_leaf_ = 0;  ///< two links per leaf switch: to the spine, from it
};

}  // namespace orrery
