#pragma once

#include <vector>

namespace orrery {

/// GPUs in replicas of pipeline stages of tensor-parallel parts. Positions are numbered part by part, stage
/// by stage, replica by replica.
struct Mesh {
  int replicas = 1, stages = 1, parts = 1;
  int size() const { return replicas * stages * parts; }
  bool operator==(const Mesh&) const = default;
};

/// Which rectangle of a model a position holds: layers and parts of their width, as shares of 1. Of its
/// replica's KV caches it holds the same rectangle.
struct MeshShare {
  int replica = 0;
  double first_layer = 0, last_layer = 1, first_part = 0, last_part = 1;
  double area() const { return (last_layer - first_layer) * (last_part - first_part); }
  /// The part of the model that both hold.
  double overlap(const MeshShare& other) const;
};
MeshShare share_of(const Mesh& mesh, int position);

/// What moves when a model that runs on `from` is to run on `to`.
struct Remeshing {
  Mesh from, to;
  /// By GPU that is there afterwards: its position in `from`; -1 = it comes new and holds nothing.
  std::vector<int> held;
  double weight_bytes = 0;       ///< of one copy of the model
  std::vector<double> kv_bytes;  ///< that the requests of each replica of `from` have in all
};

struct DeviceMapping {
  std::vector<int> gpu;     ///< by position in `to`
  std::vector<int> heir;    ///< by replica of `from`: that of `to` its requests go on in
  double reused_bytes = 0;  ///< weights and KV that are where they have to be
  double moved_weight_bytes = 0, moved_kv_bytes = 0;
  double most_moved_bytes = 0;  ///< into one GPU: what the time of the migration depends on
};

/// Gives GPUs their positions so that the most weights and KV caches stay where they are: SpotServe's device
/// mapper (Miao et al., ASPLOS 2024, section 4.1: a matching of GPUs and positions of the greatest weight by
/// Kuhn and Munkres' algorithm, edges weighing the context that is reused). Replicas of `from` go on in those
/// of `to` in turn, those with most KV first. Errors: ConfigError for fewer GPUs than positions.
DeviceMapping map_devices(const Remeshing& remeshing);

}  // namespace orrery
