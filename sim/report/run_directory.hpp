#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "report/output_file.hpp"
#include "report/summary.hpp"

namespace orrery {

/// A folder that holds everything a run wrote, so that it can be read and run again.
class RunDirectory {
 public:
  /// Creates `path` and its parents. An existing folder is used (its files are overwritten).
  /// Errors: ConfigError when it cannot be made or written.
  explicit RunDirectory(std::string path);

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  /// Writes `json` with a final newline; "NAME" is complete or absent (written aside, then renamed).
  void write_json(const std::string& name, const OrderedJson& json) const;

 private:
  std::string path_;
};

/// Default name below `parent`: "2026-11-20T2315-llama-3.1-8b". A number is appended when it is taken.
std::string run_directory_name(const std::string& parent, const std::string& model, std::int64_t unix_time);

/// A value of the resolved configuration and where it came from.
struct ConfigEntry {
  std::string key;
  OrderedJson value;
  std::string origin;  ///< "default", "engine vllm@0.15.1", "scenario.yaml:12", "command line"
};

struct InputFile {
  std::string path;
  std::int64_t bytes = 0;
  std::string sha256;  ///< "" when the file is larger than kMaxHashedBytes
};

/// What is needed to run again: manifest.json (docs/schema/manifest.schema.json).
struct Manifest {
  std::vector<std::string> argv;
  std::vector<ConfigEntry> config;
  std::vector<InputFile> inputs;
  std::vector<std::string> notes;  ///< what the readers said about their input
  std::uint64_t seed = 0;
  std::string host;  ///< host and wall_s differ between equal runs; nothing else does
  double wall_s = 0;
  bool interrupted = false;
  std::map<std::string, std::string> live;  ///< of a run on a real device: its name, driver, ...; else empty
};

inline constexpr std::int64_t kMaxHashedBytes = std::int64_t{1} << 30;

/// Size and SHA-256 of a file; files over 1 GiB are not hashed (a week-long trace would take longer to hash
/// than to simulate). Errors: ConfigError when it cannot be read.
InputFile describe_input(const std::string& path);

OrderedJson to_json(const Manifest& manifest);

}  // namespace orrery
