#include "scenario/paper.hpp"

#include <algorithm>
#include <filesystem>

#include "base/data_dir.hpp"
#include "base/error.hpp"
#include "scenario/goodput.hpp"
#include "scenario/run_scenario.hpp"

namespace orrery {
namespace {

Scenario scenario_of(JsonView& view, const std::string& key, const std::string& file) {
  return resolve(read_scenario(JsonDocument::parse(view.raw(key).dump(2), file + ", " + key)));
}

Summary summary_of(const Scenario& scenario) {
  return run_deployed(deploy(scenario), scenario).summary;
}

const PaperMeasure& measure_of(const PaperClaim& claim) {
  for (const PaperMeasure& m : paper_measures()) {
    if (m.name == claim.measure) return m;
  }
  std::vector<std::string> names;
  for (const PaperMeasure& m : paper_measures()) names.push_back(m.name);
  throw ConfigError("unknown measure '" + claim.measure + "' in " + claim.file,
                    suggestion(claim.measure, names), ExitCode::usage);
}

}  // namespace

const std::vector<PaperMeasure>& paper_measures() {
  static const std::vector<PaperMeasure> measures = {
      {"goodput_per_gpu", "the highest rate whose requests meet their SLO, over all GPUs", "req/s per GPU",
       false, [](const Scenario& s) { return find_goodput(s).per_gpu(); }},
      {"request_throughput", "requests done a second", "req/s", false,
       [](const Scenario& s) { return summary_of(s).request_throughput; }},
      {"output_throughput", "tokens given out a second", "tok/s", false,
       [](const Scenario& s) { return summary_of(s).output_throughput; }},
      {"attainment", "share of requests that meet their SLO", "", false,
       [](const Scenario& s) { return summary_of(s).attainment.value_or(0); }},
      {"mean_ttft", "mean time to the first token", "ms", true,
       [](const Scenario& s) { return summary_of(s)[Metric::ttft].mean; }},
      {"p99_ttft", "99th percentile of the time to the first token", "ms", true,
       [](const Scenario& s) { return summary_of(s)[Metric::ttft].at(99); }},
      {"mean_tpot", "mean time per further token", "ms", true,
       [](const Scenario& s) { return summary_of(s)[Metric::tpot].mean; }},
      {"mean_e2e", "mean time to the last token (job completion time)", "ms", true,
       [](const Scenario& s) { return summary_of(s)[Metric::e2el].mean; }},
      {"p99_e2e", "99th percentile of the time to the last token", "ms", true,
       [](const Scenario& s) { return summary_of(s)[Metric::e2el].at(99); }},
  };
  return measures;
}

double PaperResult::ratio() const {
  const double worse = measure_of(claim).lower_is_better ? system : baseline;
  return worse > 0 ? (measure_of(claim).lower_is_better ? baseline : system) / worse : 0;
}

PaperClaim read_paper(const std::string& file) {
  JsonView view(JsonDocument::load(file));
  PaperClaim out;
  out.file = file;
  out.paper = view.text("paper");
  out.claim = view.text("claim");
  out.measure = view.text_or("measure", "goodput_per_gpu");
  measure_of(out);
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
  const PaperMeasure& measure = measure_of(claim);
  return {claim, measure.of(claim.baseline), measure.of(claim.system)};
}

OrderedJson to_json(const PaperResult& r) {
  return {{"paper", r.claim.paper},
          {"claim", r.claim.claim},
          {"reported_ratio", {r.claim.reported_low, r.claim.reported_high}},
          {"measure", r.claim.measure},
          {"baseline", r.baseline},
          {"system", r.system},
          {"simulated_ratio", r.ratio()},
          {"differs", r.claim.differs}};
}

}  // namespace orrery
