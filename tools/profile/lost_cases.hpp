#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "table_row.hpp"

namespace orrery::profile {

/// Cases that took the GPU down (an illegal access ends the whole process), remembered in lost.txt beside the
/// tables, so that running again gets past them. Delete the file to try them once more.
class LostCases {
 public:
  explicit LostCases(std::string folder);
  /// Whether it was lost before, or its component was in its checks or in two other cases.
  bool has(const Job& job) const;
  bool has_component(const std::string& component) const;
  void add(const Job& job);
  void add_checks(const std::string& component);

 private:
  void add_line(const std::string& component, const std::string& key);
  std::string path_;
  std::map<std::string, std::vector<std::string>> by_component_;
};

/// Ends the process with exit code 4 when a case does not come back: a kernel that hangs cannot be cancelled.
class Watchdog {
 public:
  Watchdog(double seconds, LostCases& lost);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void start(const Job& job);
  void stop();

 private:
  void watch();
  double seconds_;
  LostCases& lost_;
  std::mutex mutex_;
  std::condition_variable changed_;
  const Job* job_ = nullptr;
  unsigned generation_ = 0;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace orrery::profile
