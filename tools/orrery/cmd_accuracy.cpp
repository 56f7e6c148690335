#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <fmt/format.h>

#include "base/error.hpp"
#include "command.hpp"
#include "options.hpp"
#include "scenario/accuracy_report.hpp"
#include "scenario/accuracy_speculation.hpp"
#include "scenario/validate_servers.hpp"
#include "scenario_options.hpp"

namespace orrery {
namespace {

std::string reference_folder() {
  const char* set = std::getenv("ORRERY_REFERENCE_DATA");
  if (!set || !*set) {
    throw ConfigError("there are no measurements to compare with",
                      "set ORRERY_REFERENCE_DATA, or give --data DIR", ExitCode::no_device);
  }
  return std::string(set) + "/endtoend";
}

int run(const std::vector<std::string>& args) {
  std::string data, out;
  ServerOptions servers;
  servers.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  Options options("accuracy",
                  "Predicts published measurements of whole servers and writes how far off it is.");
  options.group("accuracy", "Report")
      .value("data", data, "DIR", "folder of the tables (default: endtoend in $ORRERY_REFERENCE_DATA)")
      .value("set", servers.set, "NAME", "only this set of servers")
      .value("out", out, "DIR",
             "write accuracy.md and accuracy/*.svg below DIR (default: the page on stdout)")
      .value("threads", servers.threads, "N", "rows simulated at once (default: all cores)");
  ScenarioOptions scenario(options, {"engine"});
  options.example("orrery accuracy --out docs");
  if (!options.parse(args)) return 0;
  if (data.empty()) data = reference_folder();
  servers.override = scenario.assignments();
  if (options.output().progress()) {
    servers.progress = [](std::size_t done, std::size_t all) {
      std::fprintf(stderr, "\r%zu of %zu servers%s", done, all, done == all ? "\r\033[K" : "");
    };
  }
  const auto rows = validate_servers(data, servers);
  if (options.output().json) {
    std::fputs((to_json(rows).dump(1) + "\n").c_str(), stdout);
  } else if (out.empty()) {
    std::fputs(accuracy_page(rows, {}, speculation_section(data)).c_str(), stdout);
  } else {
    write_accuracy_report(rows, out, speculation_section(data));
    std::fputs(fmt::format("{}/accuracy.md\n", out).c_str(), stdout);
  }
  return 0;
}

const Registration<Commands> registered{"accuracy", "report how close predictions are to measured servers",
                                        run};

}  // namespace
}  // namespace orrery
