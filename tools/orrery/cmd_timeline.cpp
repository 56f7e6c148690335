#include <cstdio>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.hpp"
#include "command.hpp"
#include "file_server.hpp"
#include "interrupt.hpp"
#include "options.hpp"

namespace orrery {
namespace {

constexpr const char* kViewer = "https://ui.perfetto.dev";
/// The one port of this machine that the viewer's content security policy lets it fetch from.
constexpr std::int64_t kViewerPort = 9001;

int open_timeline(const std::vector<std::string>& args) {
  std::string folder;
  std::int64_t port = kViewerPort;
  Options options(
      "timeline open",
      "Offers a run's timeline to ui.perfetto.dev, from this machine and to it alone, until the viewer "
      "has it.");
  options.positional("DIR", folder, "a run directory")
      .group("server", "Server")
      .value("port", port, "N", "of 127.0.0.1 (default 9001, which the viewer is allowed to ask)");
  options.example("orrery timeline open runs/2026-11-20T2315-llama-3.1-8b");
  if (!options.parse(args)) return 0;
  if (port > 65535)
    throw ConfigError(fmt::format("a port is at most 65535, found {}", port), {}, ExitCode::usage);
  const std::string file = folder + "/timeline.pftrace";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    throw ConfigError(fmt::format("{} holds no timeline.pftrace", folder),
                      "runs write one with --out DIR and --detail runs (the default) or steps");
  }
  FileServer server(file, kViewer, static_cast<std::uint16_t>(port));
  fmt::print(" open {}/#!/?url={}\n", kViewer, server.url());
  std::fflush(stdout);
  const bool fetched = server.serve(catch_interrupt());
  if (!options.output().quiet)
    fmt::print(stderr, "note: {}\n", fetched ? "the viewer has it" : "not fetched");
  return fetched ? 0 : kInterruptedExit;
}

int run(const std::vector<std::string>& args) {
  return dispatch("timeline", "The timeline of a run.",
                  {{"open", "offer timeline.pftrace to ui.perfetto.dev", open_timeline}}, args);
}

const Registration<Commands> registered{"timeline", "open the timeline of a run in a viewer", run};

}  // namespace
}  // namespace orrery
