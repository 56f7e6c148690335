#include <cstdio>
#include <ctime>
#include <filesystem>

#include "live_run.hpp"
#include "orrery/errors.hpp"
#include "orrery/interrupt.hpp"
#include "orrery/options.hpp"
#include "orrery/run_output.hpp"
#include "orrery/scenario_options.hpp"
#include "report/run_directory.hpp"

// orrery-live: serves a scenario for real, with the simulator's scheduler and the kernels of kernels/, on
// this machine's GPU. orrery-live-emulated: the same program with the kernels compiled for the CPU's
// emulator, for tests.

namespace orrery {
namespace {

int run(const std::string& program, const std::vector<std::string>& args) {
  std::string file, out;
  RunOptions run;
  Options options(program,
                  "Serves a scenario for real on this machine's GPU: a model of random weights, the "
                  "simulator's scheduler, real time.");
  options.group("live", "Live run")
      .value("scenario", file, "FILE", "a scenario file (JSON), as for orrery run; flags win over it")
      .value("out,o", out, "DIR", "run directory, or none (default: runs/<time>-<model>)")
      .value(
          "detail", [&](const std::string& v) { run.timeline = parse_timeline_detail(v); }, "off|runs|steps",
          "of timeline.pftrace (default runs)");
  ScenarioOptions scenario(options);
  options.example(program + " --scenario traces/scenarios/live/open_mid.json --out runs/live-1");
  if (!options.parse(args)) return 0;

  Assignments all = file.empty() ? Assignments() : read_scenario_file(file);
  const Assignments flags = scenario.assignments();
  all.insert(all.end(), flags.begin(), flags.end());
  run.out = choose_directory(out, resolve(all).model);
  run.stop = &catch_interrupt();
  run.argv = {program};
  run.argv.insert(run.argv.end(), args.begin(), args.end());
  const RunResult result = live::run_live(std::move(all), run);
  print_notes(result.notes, options.output());
  return print_result(result, options.output());
}

}  // namespace
}  // namespace orrery

int main(int argc, char** argv) {
  using namespace orrery;
  const auto fail = [](ExitCode code, const std::string& text) {
    std::fputs(text.c_str(), stderr);
    return static_cast<int>(code);
  };
  try {
    return run(std::filesystem::path(argv[0]).filename().string(), {argv + 1, argv + argc});
  } catch (const ConfigError& e) {
    return fail(e.code(), render_error(e));
  } catch (const kernels::DeviceError& e) {
    return fail(ExitCode::no_device, std::string("error: the GPU failed: ") + e.what() + "  [exit 4]\n");
  } catch (const std::exception& e) {
    return fail(ExitCode::internal, std::string("error: ") + e.what() + "  [exit 70]\n");
  }
}
