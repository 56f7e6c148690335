#include <cstdio>

#include <fmt/format.h>

#include "base/error.hpp"
#include "command.hpp"
#include "options.hpp"
#include "report/report_page.hpp"
#include "run_output.hpp"

namespace orrery {
namespace {

/// What the page cannot show; "" when the run directory is complete.
std::string what_is_missing(const OrderedJson& data) {
  std::string names;
  for (const auto& name : data["missing"]) names += (names.empty() ? "" : ", ") + name.get<std::string>();
  return names.empty() ? "" : "the run is not complete, the report says so: no " + names;
}

int run(const std::vector<std::string>& args) {
  std::string folder, file;
  Options options("report", "Writes report.html of a run directory: one page that needs nothing else.");
  options.positional("DIR", folder, "a run directory")
      .group("files", "Files")
      .value("out,o", file, "FILE", "the page (default: DIR/report.html)")
      .example("orrery report runs/2026-11-20T2315-llama-3.1-8b")
      .example("orrery report runs/2026-11-20T2315-llama-3.1-8b --json   # what the page shows");
  if (!options.parse(args)) return 0;
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  if (file.empty()) file = folder + "/report.html";
  const OrderedJson data = read_run_directory(folder);
  if (const auto note = what_is_missing(data); !note.empty()) print_warnings({note}, options.output());
  if (options.output().json) {
    std::fputs((data.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n").c_str(), stdout);
    return 0;
  }
  write_report(data, file);
  if (!options.output().quiet) fmt::print(" wrote {}\n", file);
  return 0;
}

const Registration<Commands> registered{"report", "write the page of a run directory", run};

}  // namespace
}  // namespace orrery
