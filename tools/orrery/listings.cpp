#include "listings.hpp"

#include <fmt/format.h>

#include "base/registry.hpp"
#include "command.hpp"
#include "cost/kernel_cost_model.hpp"
#include "des/flow_model.hpp"
#include "hw/device_profile.hpp"
#include "model/family_map.hpp"
#include "model/methods.hpp"
#include "model/model_spec.hpp"
#include "ops/kernel_classes.hpp"
#include "report/slo.hpp"
#include "scenario/engine_profile.hpp"
#include "serving/migration_policy.hpp"
#include "serving/router.hpp"
#include "serving/scheduler.hpp"
#include "workload/arrival_process.hpp"
#include "workload/length_distribution.hpp"
#include "workload/source.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {

namespace {

using Entries = std::vector<Listing::Entry>;

template <class Kind>
Entries registered() {
  Entries out;
  for (const auto& e : Registry<Kind>::entries()) {
    if (e.name.rfind("__", 0) != 0) out.push_back({e.name, e.help});
  }
  return out;
}

Entries names_only(const std::vector<std::string>& names) {
  Entries out;
  for (const auto& n : names) out.push_back({n, ""});
  return out;
}

Entries models() {
  return names_only(list_models());
}

Entries families() {
  return names_only(list_families());
}

Entries methods() {
  Entries out;
  for (const auto& m : load_methods()) out.push_back({m.id, m.name});
  return out;
}

Entries gpus() {
  Entries out;
  for (const auto& d : list_devices()) {
    out.push_back({d.name, fmt::format("{:.0f} GiB{}{}", d.memory_bytes / kGiB,
                                       d.aliases.empty() ? "" : ", also ", fmt::join(d.aliases, ", "))});
  }
  return out;
}

Entries engines() {
  Entries out;
  for (const auto& e : list_engines()) {
    for (const auto& v : e.versions) {
      out.push_back(
          {fmt::format("{}@{}", e.name, v), v == e.default_version ? "the default of " + e.name : ""});
    }
  }
  return out;
}

Entries workloads() {
  Entries out;
  for (const auto& name : builtin_workloads()) out.push_back({"builtin:" + name, ""});
  return out;
}

Entries slos() {
  return names_only(slo_presets());
}

}  // namespace

const std::vector<Listing>& listings() {
  static const std::vector<Listing> all{
      {"arrivals", "arrival processes (--arrivals)", "PROCESS", registered<ArrivalProcesses>},
      {"commands", "verbs of this program", "COMMAND", registered<Commands>},
      {"cost-models", "where kernel times come from (--cost-model)", "", registered<CostModels>},
      {"engines", "serving engines and their versions (--engine)", "ENGINE", engines},
      {"fabrics", "how transfers between replicas share links (--fabric)", "", registered<FlowModels>},
      {"families", "model families whose architecture is understood (model_type)", "", families},
      {"gpus", "devices (--gpu); more with 'orrery gpus'", "GPU", gpus},
      {"kernels", "classes of kernels a step is made of", "", registered<KernelClasses>},
      {"lengths", "length distributions (--input, --output)", "LENGTHS", registered<LengthDistributions>},
      {"methods", "methods of the literature as parameters; 'orrery list methods SPA' for one group", "",
       methods},
      {"models", "models (--model); more with 'orrery models'", "MODEL", models},
      {"queues", "who is served next (--scheduling-policy)", "POLICY", registered<QueuePolicies>},
      {"routers", "how requests are spread over replicas (--router)", "ROUTER", registered<Routers>},
      {"migrations", "who sends sequences to whom while they decode (--migration)", "MIGRATION",
       registered<MigrationPolicies>},
      {"schedulers", "batching policies, chosen by the engine", "", registered<Schedulers>},
      {"slos", "named SLOs (--slo)", "SLO", slos},
      {"trace-formats", "trace files that can be read (--format)", "FORMAT", registered<TraceFormats>},
      {"workloads", "built-in workloads (--trace)", "", workloads},
  };
  return all;
}

}  // namespace orrery
