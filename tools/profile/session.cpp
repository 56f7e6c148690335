#include "session.hpp"

#include <filesystem>
#include <map>
#include <set>

#include <fmt/format.h>
#include <unistd.h>

#include "backend.hpp"
#include "base/error.hpp"
#include "collector.hpp"
#include "compare.hpp"
#include "dram_report.hpp"
#include "dry_meter.hpp"
#include "lost_cases.hpp"
#include "provenance.hpp"
#include "queues.hpp"

namespace orrery::profile {

namespace fs = std::filesystem;
using kernels::DeviceInfo;

namespace {

constexpr int kRehearsedGaps = 2;  // a dry run goes once through active sampling, too
constexpr int kAsManyAsTimeAllows = 1'000'000;

/// The GPU here, or one of 80 GB where there is none: what a sweep covers depends on it.
DeviceInfo device_or_typical() {
  if (kernels::device_available()) return kernels::device_info();
  DeviceInfo typical;
  typical.name = "a GPU of 80 GB", typical.sm_count = 132, typical.cc_major = 9;
  typical.l2_bytes = std::size_t{50} << 20, typical.memory_bytes = std::size_t{79} << 30;
  typical.shared_bytes_per_block = std::size_t{227} << 10;
  return typical;
}

int list(const Settings& settings) {
  const DeviceInfo device = device_or_typical();
  double total = 0;
  fmt::print("{:<24}{:>7}{:>9}  {}\n", "component", "cases", "about", "kernel classes, and what is followed");
  for (const auto& queue : sweep_queues(chosen_components(settings.only, device), device, false)) {
    std::set<std::string_view> classes;
    double seconds = 0;
    for (const Job& job : queue.jobs) {
      classes.insert(job.what.call.cls->name);
      seconds += rough_seconds(job.what);
    }
    total += seconds;
    fmt::print("{:<24}{:>7}{:>7.0f} s  {}\n{:42}{}\n", queue.component, queue.jobs.size(), seconds,
               fmt::join(classes, " "), "",
               Registry<kernels::Components>::find(queue.component).make->source());
  }
  fmt::print("{:<24}{:>7}{:>7.0f} s\n", "together", "", total);
  return 0;
}

BenchSettings bench_settings(const Settings& settings) {
  BenchSettings s;
  if (settings.quick) s.limits.tolerance = 0.03, s.limits.max_samples = 30, s.limits.seconds = 0.1;
  if (settings.dry_run) s.warm_up_launches = 1, s.check_results = true, s.settle_s = 0;
  return s;
}

/// A folder that lasts as long as the process needs it.
class ScratchFolder {
 public:
  ScratchFolder() : path_(fs::temp_directory_path() / fmt::format("orrery-dry-run-{}", ::getpid())) {}
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

int report(const Outcome& outcome, const Tables& tables) {
  fmt::print("{} cases measured, {} were there already, {} cannot run here; tables in {}\n", outcome.measured,
             outcome.present, outcome.skipped, tables.folder());
  for (const auto& wrong : outcome.wrong) fmt::print("WRONG {}\n", wrong);
  if (outcome.interrupted) return 130;
  return static_cast<int>(outcome.wrong.empty() ? ExitCode::ok : ExitCode::slo_missed);
}

Plan plan_of(const Settings& settings, const std::vector<std::string>& components, const DeviceInfo& device,
             const CaseFinder& finder, Progress& progress) {
  if (settings.only_shapes.empty()) return Plan(sweep_queues(components, device, settings.dry_run));
  std::vector<std::string> unserved;
  Queue wanted = wanted_queue(settings.only_shapes, finder, unserved);
  for (const auto& shape : unserved) progress.say("no component measures " + shape);
  return Plan({std::move(wanted)});
}

int dry_run(const Settings& settings) {
  if (!can_rehearse()) {
    throw ConfigError("this program measures; rehearsals run on the CPU's emulator",
                      "orrery-profile-emulated --dry-run", ExitCode::usage);
  }
  const DeviceInfo device = kernels::device_info();
  const ScratchFolder scratch;
  Tables tables(settings.out.empty() ? scratch.path() : settings.out,
                provenance_line(device, {}, "", DryMeter().name()), true);
  Progress progress(settings.quiet, settings.budget_s);
  DryMeter meter;
  const auto sensors = make_sensors("");
  Counters counters;
  Bench bench(bench_settings(settings), meter, *sensors, counters);
  bench.spin_up();
  const auto components = chosen_components(settings.only, device);
  const CaseFinder finder(components, device);
  LostCases lost(tables.folder());
  Collector collector(bench, tables, lost, progress, device, settings.budget_s);
  collector.sweep(plan_of(settings, components, device, finder, progress));
  if (collector.outcome().measured > 0) collector.sample_actively(finder, kRehearsedGaps);
  fmt::print("dry run: nothing was measured. ");
  return report(collector.outcome(), tables);
}

/// The check cases of one component; false when one differs from its reference.
bool is_correct(const std::string& name, const DeviceInfo& device, Progress& progress,
                std::vector<std::string>& wrong) {
  const kernels::Component& component = *Registry<kernels::Components>::find(name).make;
  bool correct = true;
  for (const auto& c : component.checks()) {
    if (component.unsupported(c, device)) continue;
    const auto instance = component.make(c);
    kernels::synchronize_device();
    instance->launch(nullptr);
    const kernels::Check check = instance->check();
    if (check.passed()) continue;
    correct = false;
    wrong.push_back(fmt::format("{}: {}: error {:.2e}, tolerance {:.0e}", name, describe(c), check.error,
                                check.tolerance));
    progress.say("WRONG " + wrong.back());
  }
  return correct;
}

/// --check: the components whose results are right on this GPU.
/// Errors: ConfigError (no_device) when one takes the GPU down; it is left out of the next run.
std::vector<std::string> correct_components(const std::vector<std::string>& components,
                                            const DeviceInfo& device, LostCases& lost, Progress& progress,
                                            std::vector<std::string>& wrong) {
  std::vector<std::string> good;
  for (std::size_t i = 0; i < components.size(); ++i) {
    const auto& name = components[i];
    progress.show("checking " + name, i, components.size() - i);
    if (lost.has_component(name)) {
      wrong.push_back(name + ": took the GPU down before (lost.txt)");
      continue;
    }
    try {
      if (is_correct(name, device, progress, wrong)) good.push_back(name);
    } catch (const kernels::DeviceError& e) {
      wrong.push_back(fmt::format("{}: {}", name, e.what()));
      progress.say("WRONG " + wrong.back());
      if (!e.lost) continue;
      lost.add_checks(name);
      throw ConfigError(fmt::format("the GPU was lost while checking {} ({})", name, e.what()),
                        "the same command goes on without this component", ExitCode::no_device);
    } catch (const InternalError& e) {
      wrong.push_back(fmt::format("{}: {}", name, e.what()));
      progress.say("WRONG " + wrong.back());
    }
  }
  return good;
}

/// Where the tables go, and what `orrery calibrate fit` is to be told.
struct Destination {
  std::string folder, device;
};
Destination destination_of(const Settings& settings, const DeviceInfo& device, Progress& progress) {
  const auto profile = profile_of(device);
  if (!profile) {
    progress.say(fmt::format(
        "'{}' is no device of hwprofiles/: add {}/device.json (see hwprofiles/README.md) to predict with it",
        device.name, slug(device.name)));
  }
  const std::string name = profile ? profile->name : slug(device.name);
  if (!settings.out.empty()) return {settings.out, name};
  return {profile ? profile->folder + "/measured" : "measured/" + name, name};
}

int collect(const Settings& settings) {
  require_device();
  const DeviceInfo device = kernels::device_info();
  Progress progress(settings.quiet, settings.budget_s);
  const auto sensors = make_sensors(pci_bus_id());
  std::string note;
  const auto meter = make_meter(note);
  if (!note.empty()) progress.say(note);
  const auto counters =
      settings.no_counters ? std::make_unique<Counters>("not asked for") : make_proven_counters();
  Bench bench(bench_settings(settings), *meter, *sensors, *counters);
  const Readings clocks = bench.spin_up();
  auto components = chosen_components(settings.only, device);
  if (!settings.compare.empty()) {
    return compare(settings.compare, CaseFinder(components, device), bench, progress);
  }
  const Destination to = destination_of(settings, device, progress);
  Tables tables(to.folder, provenance_line(device, clocks, sensors->driver_version(), meter->name()), false);
  LostCases lost(tables.folder());
  std::vector<std::string> wrong;
  if (settings.check) components = correct_components(components, device, lost, progress, wrong);
  const CaseFinder finder(components, device);
  Collector collector(bench, tables, lost, progress, device, settings.budget_s);
  collector.sweep(plan_of(settings, components, device, finder, progress));
  if (settings.budget_s && settings.only_shapes.empty())
    collector.sample_actively(finder, kAsManyAsTimeAllows);
  if (const auto why = counters->refusal(); !why.empty()) progress.say("no DRAM bytes: " + why);
  print_dram_report(collector.counted());
  Outcome outcome = collector.outcome();
  outcome.wrong.insert(outcome.wrong.begin(), wrong.begin(), wrong.end());
  const int code = report(outcome, tables);
  fmt::print("next: orrery calibrate fit --device {} --rows {}\n", to.device, to.folder);
  return code;
}

/// --probe-counters: one launch under them, and the timer once more after it. What it prints is the reason.
int probe_counters() {
  require_device();
  std::string note;
  const auto meter = make_meter(note);
  const auto counters = make_counters();
  const std::string name = Registry<kernels::Components>::names().front();
  const kernels::Component& component = *Registry<kernels::Components>::find(name).make;
  const kernels::Case what = component.checks().front();
  const auto instance = component.make(what);
  const kernels::Stream stream;
  kernels::synchronize_device();
  const auto bytes = counters->dram_bytes(*instance, stream.ref());
  Sampling again;
  again.what = &what, again.instance = instance.get(), again.timing = component.timing(what);
  again.stream = stream.ref();
  if (bytes) meter->sample(again);
  fmt::print("{}\n",
             bytes ? fmt::format("{}: {:.0f} DRAM bytes", describe(what), *bytes) : counters->refusal());
  return static_cast<int>(bytes ? ExitCode::ok : ExitCode::no_device);
}

}  // namespace

int run(const Settings& settings) {
  if (settings.probe_counters) return probe_counters();
  if (settings.list) return list(settings);
  return settings.dry_run ? dry_run(settings) : collect(settings);
}

}  // namespace orrery::profile
