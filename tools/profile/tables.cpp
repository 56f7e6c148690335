#include "tables.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/error.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery::profile {

namespace fs = std::filesystem;

namespace {

constexpr const char* kClassLine = "# class: ";
constexpr const char* kDryRunLine = "# dry run: nothing was measured";

/// Appends `text` in one piece, or leaves the file as it was.
void append_whole(const std::string& path, const std::string& text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0)
    throw ConfigError("cannot write '" + path + "': " + std::strerror(errno), "choose another --out");
  const off_t before = ::lseek(file, 0, SEEK_END);
  const ssize_t written = ::write(file, text.data(), text.size());
  const int error = written < 0 ? errno : ENOSPC;
  const bool whole = written == static_cast<ssize_t>(text.size());
  if (!whole && ::ftruncate(file, before) != 0) ::lseek(file, 0, SEEK_END);  // repaired when read again
  ::close(file);
  if (!whole) {
    throw ConfigError("cannot write to '" + path + "': " + std::strerror(error),
                      "the rows before are whole: make room and run again");
  }
}

/// The line of column names, "" when there is none yet.
std::string header_of(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  while (std::getline(in, line)) {
    if (!line.empty() && line.front() != '#') return line;
  }
  return {};
}

/// Cuts off what follows the last newline: the row a killed process was writing.
void drop_half_line(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  in.close();
  const std::size_t end = text.rfind('\n');
  const std::size_t whole = end == std::string::npos ? 0 : end + 1;
  if (whole != text.size()) fs::resize_file(path, whole);
}

}  // namespace

RowsByClass read_rows(const std::string& path, bool* dry) {
  std::ifstream in(path);
  if (!in) throw ConfigError("cannot read this table of shapes").at(path);
  RowsByClass rows;
  const KernelClass* cls = nullptr;
  std::optional<RowReader> reader;
  long number = 0;
  std::string line;
  try {
    while (std::getline(in, line)) {
      ++number;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (dry != nullptr && line == kDryRunLine) *dry = true;
      if (line.rfind(kClassLine, 0) == 0) {
        cls = Registry<KernelClasses>::find(line.substr(std::strlen(kClassLine))).make;
        reader.reset();
      } else if (!line.empty() && line.front() != '#') {
        if (cls == nullptr) throw ConfigError("the line '# class: NAME' must come before the columns");
        if (reader) {
          rows.emplace_back(cls, reader->read(line));
        } else {
          reader.emplace(*cls, line);
        }
      }
    }
  } catch (ConfigError& e) {
    throw e.at(path, number, 0, line);
  }
  return rows;
}

Tables::Tables(std::string folder, std::string provenance, bool dry_run)
    : folder_(std::move(folder)), provenance_(std::move(provenance)), dry_run_(dry_run) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw ConfigError("cannot make the folder '" + folder_ + "': " + error.message(), "--out DIR");
  for (const auto& entry : fs::directory_iterator(folder_)) {
    if (entry.path().extension() == ".csv") read_back(entry.path().string());
  }
}

void Tables::read_back(const std::string& path) {
  drop_half_line(path);
  bool dry = false;
  const RowsByClass rows = read_rows(path, &dry);
  if (!rows.empty() && dry != dry_run_) {
    throw ConfigError(
        dry ? "these rows come from a dry run" : "these rows were measured; a dry run keeps off them",
        "give another folder: --out DIR")
        .at(path);
  }
  if (!rows.empty() && header_of(path) != table_header(*rows.front().first)) {
    throw ConfigError("this table has other columns than rows written now", "give another folder: --out DIR")
        .at(path);
  }
  for (const auto& [cls, row] : rows) {
    keys_.insert(std::string(cls->name) + "|" + row.key);
    rows_[cls].push_back(row);
  }
}

std::string Tables::key(const Job& job) {
  return std::string(job.what.call.cls->name) + "|" + row_key(job);
}

std::string Tables::preamble(const KernelClass& cls) const {
  return fmt::format("{}{}\n{}# {}\n{}\n", kClassLine, cls.name,
                     dry_run_ ? kDryRunLine + std::string("\n") : "", provenance_, table_header(cls));
}

void Tables::append(const Job& job, const Measurement& m) {
  const KernelClass& cls = *job.what.call.cls;
  const std::string path = fmt::format("{}/{}.csv", folder_, cls.name);
  std::string text = table_line(job, m) + "\n";
  if (!begun_.contains(&cls)) {
    // Rows of an earlier run keep their provenance; what follows is of another day, driver or clock.
    text = (rows_.contains(&cls) ? "# " + provenance_ + "\n" : preamble(cls)) + text;
    if (!rows_.contains(&cls)) fs::remove(path);  // at most the beginning of a preamble
  }
  append_whole(path, text);
  begun_.insert(&cls);
  keys_.insert(key(job));
  rows_[&cls].push_back(RowReader(cls, table_header(cls)).read(table_line(job, m)));
}

}  // namespace orrery::profile
