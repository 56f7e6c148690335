#include "serving/reservation.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace orrery {

Preallocating::Preallocating(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps)
    : Scheduler(std::move(config), kv, std::move(caps)), blocks_each_(most_blocks(config_.max_model_len)) {
  if (blocks_each_ > kv_.total_blocks()) {
    throw ConfigError(fmt::format("scheduler '{}' reserves {} KV blocks per request (max_model_len {}), more "
                                  "than the {} of the cache",
                                  config_.scheduler, blocks_each_, config_.max_model_len, kv_.total_blocks()),
                      "lower max_model_len to the longest prompt and answer", ExitCode::infeasible);
  }
}

}  // namespace orrery
