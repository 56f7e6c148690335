#include "report/report_page.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/version.hpp"
#include "report/output_file.hpp"

namespace orrery {

namespace {

/// The page without data, in pieces that compilers take (tools/report/dist/report.html, see
/// cmake/report.cmake).
constexpr std::string_view kTemplate[] = {
#include "report/report_template.inc"
};
constexpr std::string_view kPlaceholder = R"({"data":"goes here"})";
constexpr std::size_t kMostRows = 600;  // of a curve over time

std::optional<std::string> contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

/// A table of numbers: names of its columns, and the columns.
struct Table {
  std::vector<std::string> names;
  std::vector<std::vector<double>> columns;
};

std::vector<std::string_view> fields(std::string_view line) {
  std::vector<std::string_view> out;
  for (std::size_t start = 0; start <= line.size();) {
    const auto end = std::min(line.find(',', start), line.size());
    out.push_back(line.substr(start, end - start));
    start = end + 1;
  }
  return out;
}

/// Rows that are not complete are left out: the last of a file that was being written.
Table parse_table(std::string_view text) {
  Table t;
  for (std::size_t start = 0; start < text.size();) {
    const auto end = std::min(text.find('\n', start), text.size());
    const auto row = fields(text.substr(start, end - start));
    start = end + 1;
    if (t.names.empty()) {
      t.names.assign(row.begin(), row.end());
      t.columns.resize(row.size());
      continue;
    }
    std::vector<double> values;
    for (const auto field : row) {
      double value = 0;
      const auto [rest, error] = std::from_chars(field.data(), field.data() + field.size(), value);
      if (error == std::errc() && rest == field.data() + field.size()) values.push_back(value);
    }
    if (row.size() != t.names.size() || values.size() != row.size()) continue;
    for (std::size_t i = 0; i < values.size(); ++i) t.columns[i].push_back(values[i]);
  }
  return t;
}

/// Means of as many rows at a time as bring the table under kMostRows; of the first column the first.
OrderedJson thinned(const Table& t) {
  OrderedJson json;
  const std::size_t rows = t.columns.empty() ? 0 : t.columns[0].size();
  const std::size_t step = std::max<std::size_t>(1, (rows + kMostRows - 1) / kMostRows);
  for (std::size_t c = 0; c < t.names.size(); ++c) {
    auto& column = json[t.names[c]] = OrderedJson::array();
    for (std::size_t from = 0; from < rows; from += step) {
      const std::size_t to = std::min(rows, from + step);
      double sum = 0;
      for (std::size_t i = from; i < to; ++i) sum += t.columns[c][i];
      const double mean = c == 0 ? t.columns[0][from] : sum / static_cast<double>(to - from);
      column.push_back(static_cast<double>(std::llround(mean * 1e3)) / 1e3);
    }
  }
  return json;
}

/// Leaves out where a run was made and kept: equal runs give equal pages.
void forget_place(OrderedJson& manifest) {
  manifest.erase("host");
  manifest.erase("wall_s");
  if (!manifest.contains("argv") || !manifest["argv"].is_array()) return;
  auto kept = OrderedJson::array();
  bool folder_follows = false;
  for (const auto& word : manifest["argv"]) {
    const std::string text = word.is_string() ? word.get<std::string>() : "";
    if (!folder_follows && text.rfind("--out=", 0) != 0 && text != "--out" && text != "-o")
      kept.push_back(word);
    folder_follows = !folder_follows && (text == "--out" || text == "-o");
  }
  manifest["argv"] = kept;
}

/// Nothing of the data may end the script element that holds it, or open a comment in it.
std::string for_script(const OrderedJson& data) {
  const std::string text = data.dump(-1, ' ', true, OrderedJson::error_handler_t::replace);
  std::string out;
  out.reserve(text.size() + text.size() / 16);
  for (const char c : text) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

OrderedJson read_run_directory(const std::string& folder) {
  OrderedJson out;
  out["schema_version"] = 1;
  out["orrery_version"] = kVersion;
  out["missing"] = OrderedJson::array();
  int found = 0;
  const auto put = [&](const char* key, const char* file, auto&& parse) {
    OrderedJson value;
    if (const auto text = contents(folder + "/" + file)) value = parse(*text), ++found;
    if (value.is_null() || value.is_discarded()) {
      out["missing"].push_back(file);
      value = nullptr;
    }
    out[key] = std::move(value);
  };
  const auto json = [](const std::string& text) { return OrderedJson::parse(text, nullptr, false); };
  put("summary", "summary.json", json);
  put("manifest", "manifest.json", json);
  put("details", "details.json", json);
  put("timeseries", "timeseries.csv", [](const std::string& text) { return thinned(parse_table(text)); });
  std::error_code ignored;
  if (found == 0 && !std::filesystem::exists(folder + "/requests.csv", ignored)) {
    throw ConfigError(
        folder + " is no run directory: it holds no summary.json, manifest.json or requests.csv",
        "runs write one with --out DIR");
  }
  if (out["manifest"].is_object()) forget_place(out["manifest"]);
  return out;
}

std::string report_page(const OrderedJson& data) {
  std::string page;
  for (const auto piece : kTemplate) page += piece;
  const auto at = page.find(kPlaceholder);
  ORRERY_CHECK(at != std::string::npos, "the page of reports has no place for data");
  return page.replace(at, kPlaceholder.size(), for_script(data));
}

void write_report(const OrderedJson& data, const std::string& path) {
  const std::string aside = path + ".partial";
  OutputFile out(aside);
  out.write(report_page(data));
  out.close();
  if (std::rename(aside.c_str(), path.c_str()) != 0) throw ConfigError("cannot write " + path);
}

}  // namespace orrery
