#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/data_dir.hpp"
#include "base/error.hpp"
#include "base/json.hpp"
#include "base/version.hpp"
#include "command.hpp"
#include "cost/kernel_cost_model.hpp"
#include "hw/device_profile.hpp"
#include "model/model_spec.hpp"
#include "options.hpp"
#include "scenario/engine_profile.hpp"

namespace orrery {
namespace {

namespace fs = std::filesystem;

/// One thing looked at. `needed` ones that fail make the doctor fail.
struct Finding {
  enum class State { good, absent, bad } state;
  std::string what, text;
};
using enum Finding::State;

Finding check_data() {
  const std::string folder = data_dir();
  std::error_code ignored;
  if (!fs::is_directory(folder + "/models", ignored)) {
    return {bad, "data", folder + " holds no models/: set ORRERY_DATA to the folder that does"};
  }
  return {good, "data", folder};
}

/// Runs a check that reads data files: what it throws is a finding.
template <class F>
Finding attempt(const char* what, F&& check) {
  try {
    return {good, what, check()};
  } catch (const ConfigError& e) {
    return {bad, what, (e.file().empty() ? "" : e.file() + ": ") + e.what()};
  }
}

std::string check_models() {
  const auto names = list_models();
  for (const auto& name : names) load_model(name);
  return fmt::format("{} load", names.size());
}

std::string check_gpus() {
  std::vector<std::string> fitted;
  const auto devices = list_devices();
  std::error_code ignored;
  for (const auto& d : devices) {
    if (!fs::exists(d.folder + "/fit.json", ignored)) continue;
    best_cost_model(d, topology_for(d));
    fitted.push_back(d.name);
  }
  return fmt::format("{} devices; calibrated: {}", devices.size(),
                     fitted.empty() ? "none" : fmt::format("{}", fmt::join(fitted, ", ")));
}

std::string check_engines() {
  std::string out;
  for (const auto& e : list_engines()) {
    for (const auto& v : e.versions) load_engine(e.name + "@" + v);
    out += fmt::format("{}{} ({})", out.empty() ? "" : ", ", e.name, fmt::join(e.versions, ", "));
  }
  return out;
}

Finding check_writing() {
  const std::string here = fs::current_path().string();
  if (access(here.c_str(), W_OK) == 0) return {good, "writing", "runs are written below " + here + "/runs"};
  return {absent, "writing", here + " cannot be written: give --out DIR or --out none"};
}

Finding check_cuda() {
  using Init = int (*)(unsigned);
  using Count = int (*)(int*);
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (!driver) return {absent, "cuda", "no driver here; only measuring kernels needs one"};
  const auto init = reinterpret_cast<Init>(dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<Count>(dlsym(driver, "cuDeviceGetCount"));
  int devices = 0;
  if (!init || !count || init(0) != 0 || count(&devices) != 0) {
    return {absent, "cuda", "a driver that finds no device; only measuring kernels needs one"};
  }
  return {good, "cuda", fmt::format("{} device{}", devices, devices == 1 ? "" : "s")};
}

Finding check_reference() {
  const char* folder = std::getenv("ORRERY_REFERENCE_DATA");
  if (!folder || !*folder)
    return {absent, "reference", "ORRERY_REFERENCE_DATA is not set; only tests use it"};
  std::error_code ignored;
  if (fs::is_directory(folder, ignored)) return {good, "reference", folder};
  return {bad, "reference", fmt::format("ORRERY_REFERENCE_DATA is set to {}, which is no folder", folder)};
}

int run(const std::vector<std::string>& args) {
  Options options("doctor", "Looks at what predictions depend on, and says what is missing.");
  if (!options.parse(args)) return 0;
  const std::vector<Finding> findings{check_data(),
                                      attempt("models", check_models),
                                      attempt("gpus", check_gpus),
                                      attempt("engines", check_engines),
                                      check_writing(),
                                      check_cuda(),
                                      check_reference()};
  bool healthy = true;
  Json all = Json::object();
  for (const auto& f : findings) {
    healthy = healthy && f.state != bad;
    const char* state = f.state == good ? "ok" : f.state == absent ? "--" : "BAD";
    all[f.what] = {{"state", f.state == good     ? "ok"
                             : f.state == absent ? "absent"
                                                 : "bad"},
                   {"text", f.text}};
    if (!options.output().json) fmt::print(" {:<4} {:<10} {}\n", state, f.what, f.text);
  }
  if (options.output().json) std::printf("%s\n", all.dump(2).c_str());
  return static_cast<int>(healthy ? ExitCode::ok : ExitCode::bad_input);
}

const Registration<Commands> registered{"doctor", "check the data, the calibration and this machine", run};

}  // namespace
}  // namespace orrery
