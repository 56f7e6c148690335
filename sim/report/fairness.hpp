#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

namespace orrery {

/// What one group of requests was given: those of a client, or of a priority class. Latencies in ms; NaN
/// where there are no samples or they were not kept.
struct GroupStats {
  std::int32_t id = 0;  ///< client, or priority
  std::int64_t completed = 0, failed = 0;
  std::int64_t input_tokens = 0, output_tokens = 0;
  double mean_ttft_ms = 0, p99_ttft_ms = 0, mean_tpot_ms = 0, p99_tpot_ms = 0;
  double mean_slowdown = 0;          ///< E2E over what of it was not spent in the queue, 1 = never waited
  std::optional<double> attainment;  ///< share that meets every threshold of the SLO, where it has any
};

/// How evenly requests were served, among priority classes and among clients.
struct Fairness {
  std::vector<GroupStats> classes;        ///< by priority; empty unless there are two
  std::int64_t clients = 0;               ///< distinct ones that asked; 0 = requests name none
  std::int64_t uncounted_requests = 0;    ///< of clients beyond those that are told apart
  std::vector<GroupStats> worst_clients;  ///< greatest mean slowdown first; some of them
  /// Jain's index over clients: of tokens (prompt and answer) of what was completed while requests still
  /// came, and of mean slowdowns.
  std::optional<double> jain_tokens, jain_slowdown;
};

/// (sum x)^2 / (n sum x^2): 1 where all are equal, 1/n where one has everything (Jain, Chiu and Hawe, A
/// Quantitative Measure of Fairness and Discrimination, DEC TR-301, 1984). Unset where all are zero.
std::optional<double> jain_index(std::span<const double> shares);

nlohmann::ordered_json to_json(const Fairness& fairness);

}  // namespace orrery
