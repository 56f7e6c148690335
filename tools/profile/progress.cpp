#include "progress.hpp"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace orrery::profile {

namespace {
constexpr double kTerminalEvery_s = 0.1, kLogEvery_s = 10;
constexpr std::size_t kWidth = 110;

std::string duration(double seconds) {
  return seconds < 100 ? fmt::format("{:.0f} s", seconds) : fmt::format("{:.1f} min", seconds / 60);
}
}  // namespace

Progress::Progress(bool quiet, std::optional<double> budget_s)
    : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1), budget_s_(budget_s) {}

Progress::~Progress() {
  wipe();
}

double Progress::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Progress::wipe() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
  drawn_ = false;
}

void Progress::show(const std::string& what, std::size_t done, std::size_t left) {
  const double now = seconds();
  if (quiet_ || now - last_ < (terminal_ ? kTerminalEvery_s : kLogEvery_s)) return;
  last_ = now;
  double remaining = done > 0 ? now / static_cast<double>(done) * static_cast<double>(left) : 0;
  if (budget_s_) remaining = done > 0 ? std::min(remaining, *budget_s_ - now) : *budget_s_ - now;
  std::string line = fmt::format("[{}/{}] {} left  {}", done, done + left,
                                 done > 0 || budget_s_ ? duration(std::max(remaining, 0.0)) : "?", what);
  if (!terminal_) {
    std::fprintf(stderr, "%s\n", line.c_str());
    return;
  }
  line.resize(std::min(line.size(), kWidth));
  wipe();
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::say(const std::string& sentence) {
  if (quiet_) return;
  wipe();
  std::fprintf(stderr, "%s\n", sentence.c_str());
}

}  // namespace orrery::profile
