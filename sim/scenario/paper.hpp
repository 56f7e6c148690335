#pragma once

#include <string>
#include <vector>

#include "report/summary.hpp"
#include "scenario/scenario.hpp"

namespace orrery {

/// What a paper reports of a system against a baseline, and both as scenarios: a file of
/// traces/scenarios/papers.
struct PaperClaim {
  std::string file, paper, claim;
  double reported_low = 0, reported_high = 0;  ///< the system's goodput per GPU over the baseline's
  std::string differs;                         ///< why the simulation is not the paper's experiment
  Scenario baseline, system;
};
PaperClaim read_paper(const std::string& file);
/// All files of the folder, by name.
std::vector<std::string> paper_files();

struct PaperResult {
  PaperClaim claim;
  double baseline_per_gpu = 0, system_per_gpu = 0;  ///< goodput, requests per second
  double ratio() const { return baseline_per_gpu > 0 ? system_per_gpu / baseline_per_gpu : 0; }
};
PaperResult run_paper(const PaperClaim& claim);
OrderedJson to_json(const PaperResult& result);

}  // namespace orrery
