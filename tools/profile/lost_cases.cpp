#include "lost_cases.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>

#include <unistd.h>

#include "base/error.hpp"

namespace orrery::profile {

namespace {
constexpr const char* kChecks = "checks";
constexpr std::size_t kEnough = 2;  // lost cases until the rest of a component is left alone

std::string key_of(const Job& job) {
  return std::string(job.what.call.cls->name) + "|" + row_key(job);
}
}  // namespace

LostCases::LostCases(std::string folder) : path_(std::move(folder) + "/lost.txt") {
  std::ifstream in(path_);
  for (std::string line; std::getline(in, line);) {
    const std::size_t space = line.find(' ');
    if (space != std::string::npos) by_component_[line.substr(0, space)].push_back(line.substr(space + 1));
  }
}

bool LostCases::has_component(const std::string& component) const {
  const auto it = by_component_.find(component);
  if (it == by_component_.end()) return false;
  return it->second.size() >= kEnough ||
         std::find(it->second.begin(), it->second.end(), kChecks) != it->second.end();
}

bool LostCases::has(const Job& job) const {
  const auto it = by_component_.find(job.component);
  if (it == by_component_.end()) return false;
  return has_component(job.component) ||
         std::find(it->second.begin(), it->second.end(), key_of(job)) != it->second.end();
}

void LostCases::add(const Job& job) {
  add_line(job.component, key_of(job));
}

void LostCases::add_checks(const std::string& component) {
  add_line(component, kChecks);
}

void LostCases::add_line(const std::string& component, const std::string& key) {
  by_component_[component].push_back(key);
  std::ofstream(path_, std::ios::app) << component << ' ' << key << std::endl;
}

Watchdog::Watchdog(double seconds, LostCases& lost)
    : seconds_(seconds), lost_(lost), thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watchdog::start(const Job& job) {
  const std::lock_guard lock(mutex_);
  job_ = &job, ++generation_;
  changed_.notify_all();
}

void Watchdog::stop() {
  const std::lock_guard lock(mutex_);
  job_ = nullptr, ++generation_;
  changed_.notify_all();
}

void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  while (!over_) {
    const unsigned seen = generation_;
    const auto moved_on = [&] { return over_ || generation_ != seen; };
    if (job_ == nullptr) {
      changed_.wait(lock, moved_on);
    } else if (!changed_.wait_for(lock, std::chrono::duration<double>(seconds_), moved_on)) {
      lost_.add(*job_);
      std::fprintf(
          stderr,
          "\nerror: the GPU did not come back from %s: %s within %.0f s\n  hint: the same command goes "
          "on without this case  [exit 4]\n",
          job_->component.c_str(), describe(job_->what).c_str(), seconds_);
      ::_exit(static_cast<int>(ExitCode::no_device));
    }
  }
}

}  // namespace orrery::profile
