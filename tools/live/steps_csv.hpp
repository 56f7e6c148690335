#pragma once

#include <string>

#include "report/output_file.hpp"
#include "serve.hpp"

namespace orrery::live {

/// steps.csv: one row per step that was run. Times in seconds; `device_s` and `gap_s` by the device's events
/// (0 under the emulator); `chunks` lists the prompt chunks as new@past, separated by ';'.
class StepsCsv {
 public:
  static constexpr const char* header =
      "start_s,duration_s,decode_seqs,context_tokens,prefill_tokens,chunks,padded,graph,device_s,gap_s,"
      "host_s\n";

  /// Errors: ConfigError when it cannot be written.
  explicit StepsCsv(const std::string& path) : file_(path) { file_.write(header); }
  void write(const LiveStep& step);
  void close() { file_.close(); }

 private:
  OutputFile file_;
};

}  // namespace orrery::live
