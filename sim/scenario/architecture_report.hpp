#pragma once

#include <span>
#include <string>
#include <vector>

#include "scenario/deployment.hpp"

namespace orrery {

/// What one architecture costs at one length of context, on one replica.
struct ArchitecturePoint {
  Tokens context = 0;
  bool beyond = false;        ///< past the model's longest context
  double sequence_bytes = 0;  ///< KV cache and state of one sequence, on one GPU
  std::int64_t batch = 0;     ///< sequences of this length that fit at once, at most `most_seqs`; 0 = none
  bool memory_bound = false;  ///< whether memory, not `most_seqs`, limits the batch
  double alone_s = 0;         ///< a decode step of one sequence
  double step_s = 0;          ///< a decode step of `batch` sequences
  double prefill_s = 0;       ///< a prompt of this length alone, in steps of the engine's token budget
  double analytic = 0;        ///< share of step_s that rests on the roofline alone

  double tokens_per_s() const { return step_s > 0 ? static_cast<double>(batch) / step_s : 0; }
};

/// One architecture along contexts: the picture of "why linear attention", "why MLA", "why experts".
struct ArchitectureCurve {
  std::string model, gpu;
  int tp = 1;
  double parameters = 0, active_parameters = 0, weight_bytes = 0;
  std::vector<ArchitecturePoint> points;
};

/// Prices one deployment at each context. `most_seqs`: the largest batch asked for.
ArchitectureCurve architecture_curve(const Deployment& server, std::span<const Tokens> contexts,
                                     std::int64_t most_seqs);

/// What of a point is drawn.
enum class ArchitectureMetric : std::uint8_t { sequence_bytes, alone, step, prefill, batch, throughput };
struct ArchitectureAxis {
  const char* word;   ///< "kv", "alone", ...: how a user names it
  const char* title;  ///< "KV and state per sequence, MiB"
};
const ArchitectureAxis& axis_of(ArchitectureMetric metric);
double value_of(const ArchitecturePoint& point, ArchitectureMetric metric);
/// Errors: ConfigError (usage) with the words that are known.
ArchitectureMetric parse_architecture_metric(const std::string& word);

/// Both axes logarithmic, in characters: a letter per curve.
std::string architecture_plot(const std::vector<ArchitectureCurve>& curves, ArchitectureMetric metric,
                              int width, int height);
/// The same as a drawing.
std::string architecture_svg(const std::vector<ArchitectureCurve>& curves, ArchitectureMetric metric);

}  // namespace orrery
