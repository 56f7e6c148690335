#include <cstdio>
#include <filesystem>

#include <fmt/format.h>

#include "cmd_validate.hpp"
#include "options.hpp"
#include "scenario/paper.hpp"

namespace orrery {
namespace {

std::string text(const PaperResult& r) {
  const PaperClaim& c = r.claim;
  std::string out = fmt::format(" {}\n   {}\n", c.paper, c.claim);
  out += fmt::format("   {}: baseline {:.3g}, system {:.3g}\n", c.measure, r.baseline, r.system);
  out += fmt::format("   ratio: reported {:g} to {:g}, simulated {:.2f}\n", c.reported_low, c.reported_high,
                     r.ratio());
  if (!c.differs.empty()) out += fmt::format("   differs: {}\n", c.differs);
  return out;
}

}  // namespace

int run_validate_papers(const std::vector<std::string>& args) {
  std::vector<std::string> files;
  Options options("validate papers",
                  "Simulates a paper's system and its baseline, and prints how much better was reported.");
  options.group("papers", "Papers")
      .value(
          "file", [&](const std::string& file) { files.push_back(file); }, "FILE",
          "only this one; may be repeated (default: all of traces/scenarios/papers)");
  options.example("orrery validate papers");
  if (!options.parse(args)) return 0;
  if (files.empty()) files = paper_files();
  auto json = OrderedJson::array();
  for (const std::string& file : files) {
    const PaperResult result = run_paper(read_paper(file));
    if (options.output().json) {
      json.push_back(to_json(result));
    } else {
      std::fputs((text(result) + "\n").c_str(), stdout);
    }
  }
  if (options.output().json) std::fputs((json.dump(2) + "\n").c_str(), stdout);
  return 0;
}

}  // namespace orrery
