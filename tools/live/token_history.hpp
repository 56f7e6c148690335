#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "workload/request.hpp"

namespace orrery::live {

/// The tokens of requests. Prompts are random, yet the same for the same request, and equal wherever two
/// requests' prefix keys are: cached blocks then hold what would have been computed.
class TokenHistory {
 public:
  explicit TokenHistory(int vocab) : vocab_(static_cast<std::uint64_t>(vocab)) {}

  /// The token at `position` of a request: of its prompt, or one that was sampled for it.
  std::int32_t at(const Request& request, std::int64_t position) const;
  void append(RequestId id, std::int32_t token) { sampled_[id].push_back(token); }
  const std::vector<std::int32_t>& sampled(RequestId id) const { return sampled_.at(id); }
  void forget(RequestId id) { sampled_.erase(id); }

 private:
  std::uint64_t vocab_;
  std::unordered_map<RequestId, std::vector<std::int32_t>> sampled_;
};

}  // namespace orrery::live
