#include "scenario/paper.hpp"

#include <algorithm>
#include <filesystem>

#include "base/data_dir.hpp"
#include "scenario/goodput.hpp"

namespace orrery {
namespace {

Scenario scenario_of(JsonView& view, const std::string& key, const std::string& file) {
  return resolve(read_scenario(JsonDocument::parse(view.raw(key).dump(2), file + ", " + key)));
}

}  // namespace

PaperClaim read_paper(const std::string& file) {
  JsonView view(JsonDocument::load(file));
  PaperClaim out;
  out.file = file;
  out.paper = view.text("paper");
  out.claim = view.text("claim");
  const std::vector<double> reported = view.numbers("reported_ratio");
  if (reported.size() != 2 || reported[0] > reported[1])
    view.fail("reported_ratio", "must be two numbers, the lower one first");
  out.reported_low = reported[0], out.reported_high = reported[1];
  out.differs = view.text_or("differs", "");
  out.baseline = scenario_of(view, "baseline", file);
  out.system = scenario_of(view, "system", file);
  view.finish();
  return out;
}

std::vector<std::string> paper_files() {
  std::vector<std::string> out;
  std::error_code absent;
  const auto folder = std::filesystem::path(data_dir()) / "traces" / "scenarios" / "papers";
  for (const auto& entry : std::filesystem::directory_iterator(folder, absent)) {
    if (entry.path().extension() == ".json") out.push_back(entry.path().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

PaperResult run_paper(const PaperClaim& claim) {
  return {claim, find_goodput(claim.baseline).per_gpu(), find_goodput(claim.system).per_gpu()};
}

OrderedJson to_json(const PaperResult& r) {
  return {{"paper", r.claim.paper},
          {"claim", r.claim.claim},
          {"reported_ratio", {r.claim.reported_low, r.claim.reported_high}},
          {"baseline_rps_per_gpu", r.baseline_per_gpu},
          {"system_rps_per_gpu", r.system_per_gpu},
          {"simulated_ratio", r.ratio()},
          {"differs", r.claim.differs}};
}

}  // namespace orrery
