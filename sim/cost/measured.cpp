#include "cost/measured.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/quantile.hpp"
#include "base/registry.hpp"
#include "cost/fitted.hpp"
#include "cost/roofline.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace fs = std::filesystem;

namespace {
constexpr std::size_t kNone = ~std::size_t{0};

/// FNV-1a over the bits of all dims but `skip`.
std::uint64_t hash_dims(std::span<const double> dims, std::size_t skip) {
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (i == skip) continue;
    h = (h ^ std::bit_cast<std::uint64_t>(dims[i])) * 0x100000001b3ULL;
    h ^= h >> 29;
  }
  return h;
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> cells;
  std::stringstream in(line);
  for (std::string cell; std::getline(in, cell, ',');) cells.push_back(cell);
  return cells;
}

std::vector<fs::path> csv_files(const std::string& folder) {
  std::vector<fs::path> files;
  if (!fs::is_directory(folder)) return files;
  for (const auto& e : fs::directory_iterator(folder)) {
    if (e.path().extension() == ".csv") files.push_back(e.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// The columns of a measured table: where the formats, the time and each dimension of the class stand.
struct Columns {
  const KernelClass* cls = nullptr;
  std::size_t dtype = 0, weight_dtype = 0, time = 0;
  std::vector<std::size_t> dims;

  Columns(const KernelClass* c, const std::vector<std::string>& header) : cls(c) {
    const auto at = [&](std::string_view name) {
      const auto it = std::find(header.begin(), header.end(), name);
      if (it == header.end()) {
        throw ConfigError("a table of " + std::string(c->name) + " has no column '" + std::string(name) + "'",
                          suggestion(name, header));
      }
      return static_cast<std::size_t>(it - header.begin());
    };
    dtype = at("dtype"), weight_dtype = at("weight_dtype"), time = at("time_s");
    for (const auto dim : c->dims) {
      if (!dim.empty()) dims.push_back(at(dim));
    }
  }
};

double positive(const std::vector<std::string>& cells, std::size_t column) {
  const std::string& text = column < cells.size() ? cells[column] : "";
  char* end = nullptr;
  const double x = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(x) || x <= 0) {
    throw ConfigError("'" + text + "' in column " + std::to_string(column + 1) + " is not a positive number");
  }
  return x;
}
}  // namespace

MeasuredModel::MeasuredModel(const std::string& folder, KernelCostModelPtr backing)
    : backing_(std::move(backing)) {
  for (const auto& path : csv_files(folder)) read(path.string());
  for (auto& [key, table] : tables_) index(table);
}

void MeasuredModel::read(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw ConfigError("cannot read this table of measured kernels").at(path);
  std::optional<Columns> columns;
  const KernelClass* cls = nullptr;
  std::string line, about;
  long number = 0, rows = 0;
  try {
    while (std::getline(in, line)) {
      ++number;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (line.rfind("# class: ", 0) == 0) {
        cls = Registry<KernelClasses>::find(line.substr(9)).make;
      } else if (line.rfind("# ", 0) == 0) {
        about += (about.empty() ? "" : "; ") + line.substr(2);
      } else if (!line.empty() && !columns) {
        if (cls == nullptr) throw ConfigError("the line '# class: NAME' must come before the columns");
        columns.emplace(cls, split(line));
      } else if (!line.empty()) {
        const auto cells = split(line);
        std::vector<double> dims;
        for (const auto c : columns->dims) dims.push_back(positive(cells, c));
        const double time = positive(cells, columns->time);
        Table& table = tables_[{cls, parse_dtype(cells.at(columns->dtype)),
                                parse_dtype(cells.at(columns->weight_dtype))}];
        table.dims = dims.size();
        table.repeats[dims].push_back(time);
        ++rows;
      }
    }
  } catch (ConfigError& e) {
    throw e.at(path, number, 0, line);
  }
  sources_.push_back("measured " + std::to_string(rows) + " rows, " + fs::path(path).filename().string() +
                     (about.empty() ? "" : ": " + about));
}

void MeasuredModel::index(Table& table) {
  table.lines.resize(table.dims);
  table.range.assign(table.dims, {HUGE_VAL, 0});
  for (auto& [dims, samples] : table.repeats) {
    std::sort(samples.begin(), samples.end());
    const double time = quantile_sorted(samples, 0.5);
    table.exact[hash_dims(dims, kNone)] = time;
    for (std::size_t a = 0; a < table.dims; ++a) {
      auto& [low, high] = table.range[a];
      low = std::min(low, dims[a]), high = std::max(high, dims[a]);
      table.lines[a][hash_dims(dims, a)].push_back({std::log(dims[a]), std::log(time)});
    }
  }
  for (auto& axis : table.lines) {
    for (auto& [hash, line] : axis) {
      std::sort(line.begin(), line.end(), [](const Point& a, const Point& b) { return a.log_x < b.log_x; });
    }
  }
  table.repeats.clear();
}

KernelTime MeasuredModel::price(const KernelCall& call) const {
  const auto found = tables_.find({call.cls, call.dtype, call.weight_dtype});
  if (found == tables_.end()) return backing_->price(call);
  const Table& table = found->second;
  const std::span<const double> dims(call.dims.data(), table.dims);
  if (const auto it = table.exact.find(hash_dims(dims, kNone)); it != table.exact.end()) {
    return {Seconds(it->second), Provenance::measured};
  }
  double sum = 0, weights = 0;
  for (std::size_t a = 0; a < table.dims; ++a) {
    const auto it = table.lines[a].find(hash_dims(dims, a));
    if (it == table.lines[a].end()) continue;
    const Line& line = it->second;
    const double x = std::log(dims[a]);
    const auto high =
        std::lower_bound(line.begin(), line.end(), x, [](const Point& p, double v) { return p.log_x < v; });
    if (high == line.begin() || high == line.end()) continue;
    const Point low = *(high - 1);
    const double gap = high->log_x - low.log_x, u = (x - low.log_x) / gap;
    sum += (low.log_time + u * (high->log_time - low.log_time)) / (gap * gap);
    weights += 1 / (gap * gap);
  }
  if (weights == 0) return backing_->price(call);
  return {Seconds(std::exp(sum / weights)), Provenance::interpolated};
}

ClassError MeasuredModel::error(const KernelClass& cls, Provenance provenance) const {
  if (provenance != Provenance::measured) return backing_->error(cls, provenance);
  // Repeating a measurement of ours: clocks and placement, about 2% (1.2% between neighbouring GEMM shapes).
  return {0.013, 0.033, 0.02};
}

std::vector<CalibratedRange> MeasuredModel::ranges(const KernelCall& like) const {
  std::vector<CalibratedRange> out;
  if (const auto found = tables_.find({like.cls, like.dtype, like.weight_dtype}); found != tables_.end()) {
    out.push_back({"measured", {}});
    for (std::size_t a = 0; a < found->second.dims; ++a) {
      const auto& [low, high] = found->second.range[a];
      out.back().quantities.push_back({std::string(like.cls->dims[a]), low, high});
    }
  }
  for (auto& range : backing_->ranges(like)) out.push_back(std::move(range));
  return out;
}

std::vector<std::string> MeasuredModel::sources() const {
  auto lines = sources_;
  for (auto& line : backing_->sources()) lines.push_back(std::move(line));
  return lines;
}

bool has_measured_rows(const std::string& folder) {
  return !csv_files(folder).empty();
}

KernelCostModelPtr make_measured(const std::string& folder, KernelCostModelPtr backing) {
  return std::make_shared<MeasuredModel>(folder, std::move(backing));
}

namespace {
KernelCostModelPtr make_registered(const DeviceProfile& device, const Topology& topology,
                                   const std::string& fit) {
  const std::string folder = fit.empty() ? device.folder + "/measured" : fit;
  if (!has_measured_rows(folder)) {
    throw ConfigError("no measured kernels for '" + device.name + "': " + folder + " holds no .csv",
                      "use --cost-model fitted or analytic", ExitCode::no_device);
  }
  const bool has_fit = fs::exists(device.folder + "/fit.json");
  return make_measured(folder, has_fit ? make_fitted(device, topology, "") : make_analytic(device, topology));
}
}  // namespace

const Registration<CostModels> measured{
    "measured", "our own kernel timings, interpolated; the fit where there is none", make_registered};

}  // namespace orrery
