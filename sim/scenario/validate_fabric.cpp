#include "scenario/validate_fabric.hpp"

#include <algorithm>

#include "cost/alpha_beta.hpp"

namespace orrery {

std::vector<FabricRow> validate_fabric(const FabricValidation& v) {
  const DeviceProfile device = load_device(v.gpu);
  const Topology node = topology_for(device);
  const int most = *std::max_element(v.ranks.begin(), v.ranks.end());
  const AlphaBeta price;
  Fabric fabric(ClusterTopology({{node, device.pcie_bytes_per_s, most}}, load_network(v.network)), v.fabric);
  Ps now{0};
  std::vector<FabricRow> out;
  for (const CollectiveKind kind : kCollectiveKinds) {
    for (const int ranks : v.ranks) {
      for (const double bytes : v.bytes) {
        FabricRow row{kind, ranks, (ranks + node.gpus_per_node - 1) / node.gpus_per_node, bytes};
        const double sent = bytes_sent(kind, ranks, bytes);
        const bool direct = kind == CollectiveKind::all_to_all;
        row.priced_s =
            (direct ? price.exchange_time(ranks, sent, device, node) : price.time(ranks, sent, device, node))
                .value;
        const Ps took = run_collective(fabric, kind, ranks, 1, bytes, now);
        row.run_s = price.launch_s + to_seconds(took).value;
        now += took;
        out.push_back(row);
      }
    }
  }
  return out;
}

OrderedJson to_json(const std::vector<FabricRow>& rows) {
  auto out = OrderedJson::array();
  for (const FabricRow& r : rows) {
    out.push_back({{"collective", name(r.kind)},
                   {"ranks", r.ranks},
                   {"servers", r.servers},
                   {"bytes", r.bytes},
                   {"priced_us", r.priced_s * 1e6},
                   {"run_us", r.run_s * 1e6},
                   {"ratio", r.ratio()}});
  }
  return out;
}

}  // namespace orrery
