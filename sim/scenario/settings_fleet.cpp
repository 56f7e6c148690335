#include "scenario/fleet.hpp"
#include "scenario/meshes.hpp"
#include "scenario/setting_field.hpp"

namespace orrery {

void add_fleet_settings(std::vector<Setting>& out) {
  const auto add = [&](auto... rest) {
    out.push_back(bind_setting(std::string("fleet"), std::string("fleet"), rest...));
  };
  // What is written must be readable, whoever reads it later; nothing is the default.
  const auto check_last = [&](auto parse) {
    Setting& last = out.back();
    last.set = [inner = last.set, parse](Scenario& s, const std::string& text) {
      if (!text.empty()) parse(text);
      inner(s, text);
    };
  };
  const ValueRange duration{0, 1e9, ValueForm::duration};
  add("failures", "LIST", "what fails and for how long: replica=1@60s+30s,gpu=3@100s+5s,node=0@2h+10m",
      ORRERY_MEMBER(fleet.failures));
  check_last(parse_outages);
  out.back().repeatable = true;
  add("mtbf", "T", "mean time between failures of a replica, at random (default: none)",
      ORRERY_MEMBER(fleet.mtbf_s), duration);
  add("mttr", "T", "mean time to repair one that failed at random, before it starts (default: 10m)",
      ORRERY_MEMBER(fleet.mttr_s), duration);
  add("retry", "resume|restart|none",
      "requests of a replica that failed: sent again with what was streamed (default), from the beginning, "
      "or "
      "failed",
      ORRERY_MEMBER(fleet.retry));
  check_last([](const std::string& text) { require_word(text, "resume|restart|none"); });
  add("max_retries", "N", "times that a request is sent again (default: 3)", ORRERY_MEMBER(fleet.max_retries),
      ValueRange{0, 1e6});
  add("retry_delay", "T", "until a lost replica is noticed (default: 0)", ORRERY_MEMBER(fleet.retry_delay_s),
      duration);
  add("drain", "LIST", "replicas that finish what they have and stop: 2@50s,3@1m",
      ORRERY_MEMBER(fleet.drain));
  check_last(parse_drains);
  out.back().repeatable = true;
  add("autoscale", "SPEC",
      "replicas follow the load: min=1,max=8,signal=queue|concurrency|rps|ttft,target=4,interval=15s,"
      "cooldown=5m",
      ORRERY_MEMBER(fleet.autoscale));
  check_last(parse_autoscale);
  add("meshes", "LIST",
      "splits that follow the first as GPUs are taken away or come: tp4pp2x1@60s,tp4pp2x2@5m (notices)",
      ORRERY_MEMBER(fleet.meshes));
  check_last(parse_meshes);
  out.back().repeatable = true;
  add("spot_policy", "migrate|restart|reroute",
      "weights and KV caches move to the next split (SpotServe, default), engines begin anew, or the first "
      "split stays and replicas without GPUs fail",
      ORRERY_MEMBER(fleet.spot_policy));
  check_last([](const std::string& text) { require_word(text, "migrate|restart|reroute"); });
  add("grace_period", "T", "between the notice and the loss of GPUs (default: 30s)",
      ORRERY_MEMBER(fleet.grace_period_s), duration);
  add("migration_bandwidth", "BYTES/S", "into a GPU (default: its network card's)",
      ORRERY_MEMBER(fleet.migration_bandwidth));
  add("instance_boot", "T", "of a replica's cold start: until its machine runs (default: 2m, assumed)",
      ORRERY_MEMBER(fleet.instance_boot_s), duration);
  add("image_pull", "T", "then until its engine's process runs (default: 1m, assumed)",
      ORRERY_MEMBER(fleet.image_pull_s), duration);
  add("weights_bandwidth", "BYTES/S", "at which it then loads its weights (default: the network's storage)",
      ORRERY_MEMBER(fleet.weights_bandwidth));
  add("graph_capture", "T",
      "then for profiling and CUDA graphs (default: 34s, a log of vLLM with a small model)",
      ORRERY_MEMBER(fleet.graph_capture_s), duration);
}

}  // namespace orrery
