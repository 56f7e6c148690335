#pragma once

#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "table_row.hpp"

namespace orrery::profile {

/// Lines of one file by class: a measured table, or several after one another (a list of wanted shapes).
using RowsByClass = std::vector<std::pair<const KernelClass*, TableRow>>;
/// Errors: ConfigError with file and line. `dry` (if given) tells whether the file is labelled a dry run.
RowsByClass read_rows(const std::string& path, bool* dry = nullptr);

/// The tables of a folder, one per kernel class, written so that whatever happens leaves whole rows: each row
/// is one write, a half-written one is taken back, and one left by a killed process is cut off at the start.
class Tables {
 public:
  /// Reads what is there. `provenance` is what every row written from now on was measured with.
  /// Errors: ConfigError when the folder cannot be made, or holds measured rows in a dry run (or the
  /// reverse).
  Tables(std::string folder, std::string provenance, bool dry_run);

  bool has(const Job& job) const { return keys_.contains(key(job)); }
  /// Errors: ConfigError when the disk is full; the file then ends with its last whole row.
  void append(const Job& job, const Measurement& m);

  /// Every row of the folder's tables, of earlier runs too.
  const std::map<const KernelClass*, std::vector<TableRow>>& rows() const { return rows_; }
  const std::string& folder() const { return folder_; }

 private:
  static std::string key(const Job& job);
  void read_back(const std::string& path);
  std::string preamble(const KernelClass& cls) const;

  std::string folder_, provenance_;
  bool dry_run_;
  std::map<const KernelClass*, std::vector<TableRow>> rows_;
  std::unordered_set<std::string> keys_;
  std::unordered_set<const KernelClass*> begun_;  ///< whose file names this run's provenance
};

}  // namespace orrery::profile
