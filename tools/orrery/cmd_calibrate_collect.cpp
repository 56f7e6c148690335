#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.hpp"
#include "cmd_calibrate.hpp"
#include "options.hpp"

namespace orrery {

namespace {

namespace fs = std::filesystem;

bool is_program(const fs::path& path) {
  return fs::is_regular_file(path) && ::access(path.c_str(), X_OK) == 0;
}

/// Beside this program, as the build and the installation put it, else in PATH; "" = nowhere.
std::string find_program(const std::string& name) {
  std::error_code unknown;
  const fs::path here = fs::read_symlink("/proc/self/exe", unknown).parent_path();
  if (is_program(here / name)) return (here / name).string();
  const char* path = std::getenv("PATH");
  const std::string folders = path == nullptr ? "" : path;
  for (std::size_t from = 0; from < folders.size();) {
    const std::size_t end = std::min(folders.find(':', from), folders.size());
    if (end > from && is_program(fs::path(folders.substr(from, end - from)) / name)) {
      return (fs::path(folders.substr(from, end - from)) / name).string();
    }
    from = end + 1;
  }
  return {};
}

/// Runs it with this terminal and returns its exit code; 128 + the signal that ended it.
int run_program(const std::string& program, const std::vector<std::string>& args) {
  std::vector<char*> words{const_cast<char*>(program.c_str())};
  for (const auto& arg : args) words.push_back(const_cast<char*>(arg.c_str()));
  words.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::execv(program.c_str(), words.data());
    ::_exit(127);
  }
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) break;  // Ctrl-C reaches the child, too, which ends after the case it is at
  }
  if (child < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 127)) {
    throw ConfigError("cannot start '" + program + "'", "build it again", ExitCode::no_device);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

int calibrate_collect(const std::vector<std::string>& args) {
  bool rehearse = false;
  for (const auto& arg : args) rehearse |= arg == "--dry-run";
  std::string program = rehearse ? "" : find_program("orrery-profile");
  if (program.empty()) program = find_program("orrery-profile-emulated");
  if (program.empty()) {
    throw ConfigError("the collector (orrery-profile) is neither beside orrery nor in PATH",
                      "build it: cmake --preset cuda && cmake --build --preset cuda", ExitCode::no_device);
  }
  return run_program(program, args);
}

}  // namespace orrery
