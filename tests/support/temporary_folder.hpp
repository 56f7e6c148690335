#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include <unistd.h>

namespace orrery {

/// A folder that disappears with the test; its own in each process, so that tests can run side by side.
struct TemporaryFolder {
  std::filesystem::path path;

  explicit TemporaryFolder(const std::string& name)
      : path(std::filesystem::temp_directory_path() / ("orrery_" + name + "_" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  /// Writes a file and returns its path.
  std::string add(const std::string& name, const std::string& text) const {
    std::ofstream(path / name) << text;
    return (path / name).string();
  }
};

}  // namespace orrery
