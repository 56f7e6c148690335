#pragma once

#include <string>
#include <vector>

#include "scenario/deployment.hpp"

namespace orrery {

/// From when on a model runs on other GPUs, split so: "tp4pp2x3@60s".
struct TimedMesh {
  Mesh mesh;
  double notice_s = 0;
};
/// Meshes in order of time. Errors: ConfigError with the form that is expected.
std::vector<TimedMesh> parse_meshes(const std::string& text);

/// Adds the replicas of later meshes to a deployment whose own are the first, and what happens between them.
/// GPUs that are taken away are those at the last positions; those that come hold nothing. Errors:
/// ConfigError for meshes with data- or expert-parallel ranks, or beside autoscaling.
void deploy_meshes(const Scenario& scenario, Deployment& deployment, FleetConfig& fleet);

}  // namespace orrery
