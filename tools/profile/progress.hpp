#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace orrery::profile {

/// What is being measured, on stderr: one line rewritten on a terminal, else a line now and then.
class Progress {
 public:
  Progress(bool quiet, std::optional<double> budget_s);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& what, std::size_t done, std::size_t left);
  /// A sentence that stays, above the line.
  void say(const std::string& sentence);
  double seconds() const;

 private:
  void wipe();
  bool quiet_, terminal_;
  std::optional<double> budget_s_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double last_ = -1e9;
  bool drawn_ = false;
};

}  // namespace orrery::profile
