#pragma once

#include <string>
#include <vector>

#include "cost/engine_factor.hpp"
#include "ops/kernel_call.hpp"

namespace orrery {

/// One timed launch of our own measurements.
struct MeasuredRow {
  KernelClass::Dims dims{};  ///< in the order of the class; those it does not name are 0
  DType dtype = DType::bf16, weight_dtype = DType::bf16;
  double seconds = 0;
  std::string variant;  ///< the implementation ("cublaslt", "gemv"); "" = there is one
  /// The implementation is a vendor library's (its name begins with the library's), which serving engines run
  /// too.
  bool of_library() const;
  double power_w = 0;     ///< board power while it ran; 0 = not recorded
  double dram_bytes = 0;  ///< by hardware counters; 0 = not recorded
};

/// A file of hwprofiles/<device>/measured (format: calibration/README.md): one kernel class.
struct MeasuredTable {
  std::string file;        ///< its name, without the folder
  std::string provenance;  ///< its comments after the class: driver, clocks, date
  const KernelClass* cls = nullptr;
  std::vector<MeasuredRow> rows;
};

/// Errors: ConfigError with file and line: a class nobody registered, a missing column, a cell that is no
/// number, and rows of a dry run, which timed nothing.
MeasuredTable read_measured_table(const std::string& path);

/// One row per shape and pair of formats: the median of each variant's times, of the fastest variant; with
/// `of_engines`, of the fastest of a library where there is one. The rest of the row is that of a sample at
/// the median. Sorted by formats and dimensions.
std::vector<MeasuredRow> fastest_medians(std::vector<MeasuredRow> rows, Kernels kernels);

/// Whether the file is such a table: its first line names a class.
bool is_measured_table(const std::string& path);

/// The .csv files of a folder, sorted; none when there is no such folder.
std::vector<std::string> csv_files(const std::string& folder);

}  // namespace orrery
