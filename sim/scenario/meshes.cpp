#include "scenario/meshes.hpp"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/value_forms.hpp"

namespace orrery {
namespace {

constexpr const char* kForm = "tp4pp2x3@60s (GPUs of a stage, stages, replicas, and when)";

[[noreturn]] void refuse(const std::string& text) {
  throw ConfigError(fmt::format("expected {}, found '{}'", kForm, text), {}, ExitCode::usage);
}

/// The number behind `word`, which `text` begins with; it is taken away.
int take_number(std::string& text, const std::string& word, const std::string& whole) {
  if (text.rfind(word, 0) != 0) refuse(whole);
  text.erase(0, word.size());
  const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0 || digits > 5) refuse(whole);
  const int number = std::stoi(text.substr(0, digits));
  if (number < 1) refuse(whole);
  text.erase(0, digits);
  return number;
}

TimedMesh parse_mesh(const std::string& one) {
  TimedMesh out;
  std::string text = one;
  out.mesh.parts = take_number(text, "tp", one);
  if (text.rfind("pp", 0) == 0) out.mesh.stages = take_number(text, "pp", one);
  if (text.rfind("x", 0) == 0) out.mesh.replicas = take_number(text, "x", one);
  if (text.size() < 2 || text[0] != '@') refuse(one);
  out.notice_s = parse_duration_s(text.substr(1));
  return out;
}

/// The first replicas of a cluster that stays as it is split have GPUs; those behind do not, until there are
/// more.
void add_outages(const std::vector<TimedMesh>& meshes, const Mesh& first, Ps grace, FleetConfig& fleet) {
  const int each = first.stages * first.parts;
  int there = first.replicas;
  std::vector<Ps> gone(static_cast<std::size_t>(first.replicas), kNever);
  for (const TimedMesh& timed : meshes) {
    const int fit = std::min(first.replicas, timed.mesh.size() / each);
    const Ps at = to_ps(Seconds(timed.notice_s)) + grace;
    for (int r = fit; r < there; ++r) gone[static_cast<std::size_t>(r)] = at;
    for (int r = there; r < fit; ++r) {
      const Ps since = gone[static_cast<std::size_t>(r)];
      fleet.outages.push_back({r, since, at - since});
      gone[static_cast<std::size_t>(r)] = kNever;
    }
    there = fit;
  }
  const Ps for_good = to_ps(Seconds(1e6));
  for (int r = 0; r < first.replicas; ++r) {
    const Ps since = gone[static_cast<std::size_t>(r)];
    if (since != kNever) fleet.outages.push_back({r, since, for_good});
  }
}

std::vector<int> held_after(const Mesh& before, const Mesh& after) {
  std::vector<int> held(static_cast<std::size_t>(after.size()), -1);
  const auto stay = std::min(before.size(), after.size());
  std::iota(held.begin(), held.begin() + stay, 0);
  return held;
}

}  // namespace

std::vector<TimedMesh> parse_meshes(const std::string& text) {
  std::vector<TimedMesh> out;
  for (std::size_t start = 0; start < text.size();) {
    const auto end = std::min(text.find(',', start), text.size());
    out.push_back(parse_mesh(text.substr(start, end - start)));
    start = end + 1;
  }
  for (std::size_t i = 1; i < out.size(); ++i) {
    if (out[i].notice_s <= out[i - 1].notice_s)
      throw ConfigError("meshes must follow one another in time", kForm, ExitCode::usage);
  }
  return out;
}

void deploy_meshes(const Scenario& s, Deployment& d, FleetConfig& fleet) {
  const std::vector<TimedMesh> meshes = parse_meshes(s.fleet.meshes);
  const Shard& shard = d.lowering.shard;
  if (shard.dp > 1 || shard.cp > 1 || fleet.autoscale) {
    throw ConfigError("meshes are of tensor-parallel parts and pipeline stages, without autoscaling",
                      "--tensor-parallel-size, --pipeline-parallel-size", ExitCode::usage);
  }
  Mesh before{d.replicas(), shard.pp, shard.tp};
  const Ps grace = to_ps(Seconds(s.fleet.grace_period_s));
  if (s.fleet.spot_policy == "reroute") return add_outages(meshes, before, grace, fleet);
  fleet.remesh_policy = s.fleet.spot_policy == "migrate" ? RemeshPolicy::migrate : RemeshPolicy::restart;
  fleet.initial = before.replicas;
  fleet.migration_bytes_per_s = s.fleet.migration_bandwidth.value_or(d.topology.nic_bytes_per_s);
  if (fleet.migration_bytes_per_s <= 0)
    throw ConfigError("the servers have no network to move weights and caches over",
                      "--migration-bandwidth 5e9", ExitCode::usage);
  fleet.kv_bytes = [model = d.model, whole = [&] {
    LoweringContext all = d.lowering;
    all.shard = {};
    return all;
  }()](Tokens tokens) { return model.sequence_bytes(tokens, whole); };
  d.cluster.fabric.reset();  // GPUs change hands: who loads from where is counted by rates
  int first = 0;
  for (const TimedMesh& timed : meshes) {
    Scenario later = s;
    later.fleet = {};
    later.tensor_parallel_size = timed.mesh.parts;
    later.pipeline_parallel_size = timed.mesh.stages;
    later.replicas = timed.mesh.replicas;
    const Deployment next = deploy(later);
    Remesh remesh{to_ps(Seconds(timed.notice_s)), grace, {}, {}, before, timed.mesh,
                  held_after(before, timed.mesh)};
    for (int r = 0; r < before.replicas; ++r) remesh.from.push_back(first + r);
    first = d.replicas();
    for (int r = 0; r < next.replicas(); ++r) remesh.to.push_back(first + r);
    fleet.remeshings.push_back(remesh);
    d.cluster.replicas.insert(d.cluster.replicas.end(), next.cluster.replicas.begin(),
                              next.cluster.replicas.end());
    before = timed.mesh;
  }
}

}  // namespace orrery
