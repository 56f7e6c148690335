#include "scenario/bench_table.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

#include <fmt/format.h>

#include "base/error.hpp"
#include "model/model_spec.hpp"
#include "scenario/settings.hpp"
#include "scenario/value_forms.hpp"

namespace orrery {

namespace {

constexpr int kPromptsPerUser = 10;

/// Fields of one CSV line; a quoted field may hold commas and doubled quotes.
std::vector<std::string> split_csv(std::string_view line) {
  std::vector<std::string> out(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"') {
      out.back() += c;
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  return out;
}

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw ConfigError("cannot read " + path, "give a CSV table of measured servers");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::string> lines;
  std::size_t start = 0;
  while (start < text.size()) {
    const auto end = std::min(text.find('\n', start), text.size());
    lines.emplace_back(text, start, end - start);
    if (!lines.back().empty() && lines.back().back() == '\r') lines.back().pop_back();
    start = end + 1;
  }
  return lines;
}

/// Whether a model's checkpoint holds its experts, or all its layers, in four bits. A model that cannot be
/// read is left to whoever simulates the row.
bool stored_in_four_bits(const std::string& model) {
  try {
    return bytes_per_element(load_model(model).native.linear(Module::experts).weight) < 1;
  } catch (const ConfigError&) {
    return false;
  }
}

/// Turns one row into a scenario, or into the reason why there is none.
class RowReader {
 public:
  RowReader(const BenchTable& table, BenchRow& row) : table_(table), row_(row) {}

  void read() {
    row_.ttft_ms = measured("mean_ttft_ms");
    row_.tpot_ms = measured("mean_tpot_ms");
    if (const auto& use = text("use"); !use.empty()) {
      row_.trust_ttft = use.find("ttft") != std::string::npos;
      row_.trust_tpot = use.find("tpot") != std::string::npos;
    }
    if (!modelled()) return;
    read_server();
    read_load();
    read_engine_arguments();
  }

 private:
  const std::string& text(std::string_view column) const { return table_.at(row_, column); }

  [[noreturn]] void refuse(std::string_view column, const std::string& why) const {
    throw ConfigError(fmt::format("{}: {}", column, why)).at(table_.path, row_.line);
  }

  double number(std::string_view column) const {
    try {
      return parse_number(text(column));
    } catch (const ConfigError& e) {
      refuse(column, e.what());
    }
  }

  std::optional<double> measured(std::string_view column) const {
    if (text(column).empty()) return std::nullopt;
    const double value = number(column);
    if (value < 0) refuse(column, fmt::format("expected at least 0, found {}", value));
    return value;
  }

  void set(const std::string& setting, const std::string& value) {
    row_.assignments.push_back(
        {setting, value, fmt::format("{}:{}", table_.path, row_.line), table_.path, row_.line});
  }

  bool skip(std::string why) {
    row_.skipped = std::move(why);
    return false;
  }

  bool modelled() {
    for (const char* column : {"prefill_workers", "prefill_gpus", "decode_workers", "decode_gpus"}) {
      if (!text(column).empty()) return skip("prefill and decode on separate servers are not modelled yet");
    }
    if (!text("mode").empty() && text("mode") != "agg")
      return skip("mode " + text("mode") + " is not modelled yet");
    const auto ranks = static_cast<std::int64_t>(text("tp").empty() ? 1 : number("tp"));
    if (!text("moe_ep").empty() &&
        ranks % std::max<std::int64_t>(1, static_cast<std::int64_t>(number("moe_ep"))) != 0)
      return skip(fmt::format("experts over {} of {} ranks cannot be divided", text("moe_ep"), ranks));
    for (const char* column : {"isl_max", "osl_max"}) {
      if (text(column).empty()) return skip(fmt::format("{} is blank", column));
    }
    if (text("concurrency").empty() && text("rate_rps").empty())
      return skip("neither concurrency nor rate_rps");
    return true;
  }

  void read_server() {
    set("gpu", text("hardware"));
    set("model", text("model"));
    if (!text("framework").empty()) {
      const auto& version = text("engine_version");
      set("engine", version.empty() ? text("framework") : fmt::format("{}@{}", text("framework"), version));
    }
    if (!text("tp").empty()) set("tensor_parallel_size", text("tp"));
    if (!text("pp").empty()) set("pipeline_parallel_size", text("pp"));
    if (!text("moe_ep").empty() && number("moe_ep") > 1) set("expert_parallel_size", text("moe_ep"));
    if (!text("attn_dp").empty() && number("attn_dp") > 1) {
      set("data_parallel_size", text("attn_dp"));
      set("enable_dp_attention", "true");
    }
    const auto& precision = text("precision");
    if (precision == "bf16" || precision == "fp16") {
      set("quantization", "none");
      set("dtype", precision == "bf16" ? "bfloat16" : "float16");
    } else if (precision == "fp4") {
      if (!stored_in_four_bits(text("model"))) row_.skipped = "fp4 is modelled for checkpoints stored in it";
    } else if (!precision.empty()) {
      set("quantization", precision);
    }
  }

  void read_load() {
    set("random_input_len", text("isl_max"));
    set("random_output_len", text("osl_max"));
    if (!text("length_range_ratio").empty()) set("random_range_ratio", text("length_range_ratio"));
    const bool open_loop = !text("rate_rps").empty();
    if (open_loop) set("request_rate", text("rate_rps"));
    if (text("concurrency").empty()) return;
    const auto users = parse_integer(text("concurrency"), 1, 1'000'000);
    if (!open_loop) set("max_concurrency", std::to_string(users));
    set("num_prompts", std::to_string(users * kPromptsPerUser));
  }

  void read_engine_arguments() {
    for (const auto& column : table_.columns) {
      const Setting* setting = find_setting(column);
      if (setting && setting->section == "engine_args" && !text(column).empty()) set(column, text(column));
    }
  }

  const BenchTable& table_;
  BenchRow& row_;
};

}  // namespace

const std::string& BenchTable::at(const BenchRow& row, std::string_view column) const {
  static const std::string none;
  const auto it = std::find(columns.begin(), columns.end(), column);
  return it == columns.end() ? none : row.text[static_cast<std::size_t>(it - columns.begin())];
}

BenchTable read_bench_table(const std::string& path) {
  BenchTable table;
  table.path = path;
  const auto lines = read_lines(path);
  if (lines.empty()) throw ConfigError("the table is empty").at(path);
  table.columns = split_csv(lines[0]);
  for (const char* column : {"hardware", "model", "isl_max", "osl_max"}) {
    if (std::find(table.columns.begin(), table.columns.end(), column) == table.columns.end()) {
      throw ConfigError(fmt::format("the table has no column '{}'", column),
                        suggestion(column, table.columns))
          .at(path, 1);
    }
  }
  for (std::size_t i = 1; i < lines.size(); ++i) {
    if (lines[i].empty()) continue;
    BenchRow row;
    row.line = static_cast<long>(i) + 1;
    row.text = split_csv(lines[i]);
    if (row.text.size() != table.columns.size()) {
      throw ConfigError(fmt::format("expected {} fields, found {}", table.columns.size(), row.text.size()))
          .at(path, row.line, 0, lines[i]);
    }
    RowReader(table, row).read();
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace orrery
