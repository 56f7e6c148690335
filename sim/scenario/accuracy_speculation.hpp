#pragma once

#include <string>
#include <vector>

namespace orrery {

/// Measured tokens a step of one model and way of drafting, for 1, 2, ... drafted tokens.
struct AcceptanceLengths {
  std::string model, method, mode;
  std::vector<double> measured;  ///< [0] = of one drafted token
  /// Expected lengths if each token's chance were that of the first: measured[0] - 1.
  std::vector<double> constant_chance() const;
};
/// Reads spec_acceptance_length_inferencex.csv. Errors: ConfigError when it cannot be read.
std::vector<AcceptanceLengths> read_acceptance_lengths(const std::string& path);

/// A published speed-up of one sequence over plain decoding, with the tokens a step it came with.
struct SpeculativeSpeedup {
  std::string hardware, method;
  double tokens_per_step = 0, measured = 0;
  double by_kernels = 0;   ///< tokens over the time of a step's kernels, in plain steps
  double by_launches = 0;  ///< the same where each layer takes its launches' time, whatever it computes
};
/// Spec-Bench's rows (speculative_decoding.csv) of methods whose drafting is known here, on devices that are
/// known: Vicuna-7B, one sequence, tokens a step as measured. Errors: ConfigError.
std::vector<SpeculativeSpeedup> predict_speedups(const std::string& path);

/// The section of docs/accuracy.md on speculation, from the tables in `folder`; "" where there are none.
std::string speculation_section(const std::string& folder);

}  // namespace orrery
