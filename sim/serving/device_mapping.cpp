#include "serving/device_mapping.hpp"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/error.hpp"
#include "serving/matching.hpp"

namespace orrery {
namespace {

double common(double a_first, double a_last, double b_first, double b_last) {
  return std::max(0.0, std::min(a_last, b_last) - std::max(a_first, b_first));
}

/// Those with most KV first, in turn.
std::vector<int> choose_heirs(const Remeshing& r) {
  std::vector<int> order(static_cast<std::size_t>(r.from.replicas)), heir(order.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return r.kv_bytes[static_cast<std::size_t>(a)] > r.kv_bytes[static_cast<std::size_t>(b)];
  });
  for (std::size_t i = 0; i < order.size(); ++i) {
    heir[static_cast<std::size_t>(order[i])] = static_cast<int>(i) % r.to.replicas;
  }
  return heir;
}

/// KV bytes that a position of `to` has to hold.
double wanted_kv(const Remeshing& r, const std::vector<int>& heir, const MeshShare& position) {
  double sum = 0;
  for (std::size_t old = 0; old < heir.size(); ++old) {
    if (heir[old] == position.replica) sum += r.kv_bytes[old];
  }
  return sum * position.area();
}

struct Reuse {
  double weights = 0, kv = 0;
};

/// What a GPU that held position `held` of `from` has of what `position` of `to` needs.
Reuse reuse(const Remeshing& r, const std::vector<int>& heir, int held, const MeshShare& position) {
  if (held < 0) return {};
  const MeshShare before = share_of(r.from, held);
  const double area = before.overlap(position);
  const auto old = static_cast<std::size_t>(before.replica);
  return {area * r.weight_bytes, heir[old] == position.replica ? area * r.kv_bytes[old] : 0.0};
}

}  // namespace

double MeshShare::overlap(const MeshShare& o) const {
  return common(first_layer, last_layer, o.first_layer, o.last_layer) *
         common(first_part, last_part, o.first_part, o.last_part);
}

MeshShare share_of(const Mesh& mesh, int position) {
  const int part = position % mesh.parts, stage = position / mesh.parts % mesh.stages;
  MeshShare out;
  out.replica = position / (mesh.parts * mesh.stages);
  out.first_layer = static_cast<double>(stage) / mesh.stages;
  out.last_layer = static_cast<double>(stage + 1) / mesh.stages;
  out.first_part = static_cast<double>(part) / mesh.parts;
  out.last_part = static_cast<double>(part + 1) / mesh.parts;
  return out;
}

DeviceMapping map_devices(const Remeshing& r) {
  const int gpus = static_cast<int>(r.held.size()), positions = r.to.size();
  if (gpus < positions) {
    throw ConfigError(std::to_string(positions) + " GPUs are to be used, and " + std::to_string(gpus) +
                      " are left");
  }
  ORRERY_CHECK(r.kv_bytes.size() == static_cast<std::size_t>(r.from.replicas), "KV bytes by replica");
  DeviceMapping out;
  out.heir = choose_heirs(r);
  PairWeights pairs{positions, gpus, {}};
  for (int p = 0; p < positions; ++p) {
    for (const int held : r.held) {
      const Reuse same = reuse(r, out.heir, held, share_of(r.to, p));
      pairs.weights.push_back(same.weights + same.kv);
    }
  }
  out.gpu = heaviest_matching(pairs);
  for (int p = 0; p < positions; ++p) {
    const MeshShare position = share_of(r.to, p);
    const int held = r.held[static_cast<std::size_t>(out.gpu[static_cast<std::size_t>(p)])];
    const Reuse same = reuse(r, out.heir, held, position);
    const double weights = position.area() * r.weight_bytes - same.weights;
    const double kv = wanted_kv(r, out.heir, position) - same.kv;
    out.reused_bytes += same.weights + same.kv;
    out.moved_weight_bytes += weights, out.moved_kv_bytes += kv;
    out.most_moved_bytes = std::max(out.most_moved_bytes, weights + kv);
  }
  return out;
}

}  // namespace orrery
