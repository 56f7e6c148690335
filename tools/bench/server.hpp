#pragma once

#include <string>

#include "scenario/deployment.hpp"

namespace orrery::bench {

/// Replicas of one model under an engine's defaults.
struct Server {
  std::string model = "llama-3.1-8b";
  std::string gpu = "h100-sxm";
  int tensor_parallel_size = 1;
  int replicas = 1;
  std::string router = "round_robin";
  Tokens max_num_batched_tokens = 0;  ///< 0 = the engine's default
};

/// Errors: ConfigError when a name is unknown or the model does not fit.
inline Deployment deploy(const Server& server) {
  Scenario s;
  s.model = server.model;
  s.gpu = server.gpu;
  s.tensor_parallel_size = server.tensor_parallel_size;
  s.replicas = server.replicas;
  s.router = server.router;
  if (server.max_num_batched_tokens > 0) s.max_num_batched_tokens = server.max_num_batched_tokens;
  return orrery::deploy(s);
}

}  // namespace orrery::bench
