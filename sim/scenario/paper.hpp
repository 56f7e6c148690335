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
  std::string measure;                         ///< by which they are compared: paper_measures()
  double reported_low = 0, reported_high = 0;  ///< how many times better the system is
  std::string differs;                         ///< why the simulation is not the paper's experiment
  Scenario baseline, system;
};
PaperClaim read_paper(const std::string& file);
/// All files of the folder, by name.
std::vector<std::string> paper_files();

/// By what papers compare. Of those that are better when lower, a ratio says how many times lower the
/// system's is.
struct PaperMeasure {
  std::string name, help, unit;
  bool lower_is_better = false;
  double (*of)(const Scenario& scenario) = nullptr;
};
const std::vector<PaperMeasure>& paper_measures();

struct PaperResult {
  PaperClaim claim;
  double baseline = 0, system = 0;  ///< in the measure's unit
  double ratio() const;
};
PaperResult run_paper(const PaperClaim& claim);
OrderedJson to_json(const PaperResult& result);

}  // namespace orrery
