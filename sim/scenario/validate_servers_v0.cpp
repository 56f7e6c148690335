#include <charconv>
#include <string_view>

#include <fmt/format.h>

#include "scenario/validate_servers.hpp"
#include "workload/byte_stream.hpp"
#include "workload/csv_reader.hpp"

// Servers of vLLM's first generation: one metric per row, those of one run in consecutive rows.

namespace orrery {

namespace {

/// The number that begins `key`'s value in "a; key=201 trace_in=..."; 0 when absent.
double stated(std::string_view text, std::string_view key) {
  const auto at = text.find(key);
  double value = 0;
  if (at != std::string_view::npos) {
    const std::string_view digits = text.substr(at + key.size());
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
  }
  return value;
}

std::string rounded(double value) {
  return fmt::format("{}", static_cast<std::int64_t>(value + 0.5));
}

/// What both tables' rows have in common, and the settings that follow from it.
ServerRow common_part(CsvReader& csv, const ServerSet& source, const std::string& path) {
  const auto field = [&](const char* column) { return std::string(csv.field(csv.column({column}))); };
  ServerRow row;
  row.set = source.name;
  row.hardware = field("hardware");
  row.model = field("model");
  row.precision = field("precision");
  row.precision = row.precision.substr(0, row.precision.find(' '));
  row.tp = static_cast<int>(csv.number(csv.column({"gpus"})));
  row.isl = static_cast<int>(csv.number(csv.column({"isl"})) + 0.5);
  row.osl = static_cast<int>(csv.number(csv.column({"osl"})) + 0.5);
  const auto set = [&](const char* name, const std::string& text) {
    row.scenario.push_back({name, text, "measured server", path, csv.line()});
  };
  set("model", row.model);
  set("gpu", row.hardware);
  set("tensor_parallel_size", std::to_string(row.tp));
  set("random_input_len", std::to_string(row.isl));
  set("random_output_len", std::to_string(row.osl));
  set("enable_prefix_caching", "false");
  return row;
}

}  // namespace

/// "llama_creation_025_validation_4DP2TP_1; trace=...; n_requests=201 ...": a quarter of the requests of a
/// trace of 0.25 (or, 05, 0.5) per second went to each of four servers of two GPUs; "2TP" is one server
/// alone. The traces of the single servers are not public: their mean lengths and rates are simulated. Their
/// scripts disabled custom all-reduce.
std::vector<ServerRow> read_apex(const ServerSet& source, const std::string& path) {
  CsvReader csv(ByteSource::file(path).open(), path);
  const int metric = csv.column({"metric"}), value = csv.column({"value"}),
            workload = csv.column({"workload"});
  std::vector<ServerRow> rows;
  while (csv.next()) {
    const std::string text(csv.field(workload));
    const std::string run = text.substr(0, text.find(';'));
    if (rows.empty() || rows.back().run != run) {
      ServerRow row = common_part(csv, source, path);
      row.run = run;
      const double rate = run.find("_025_") != std::string::npos ? 0.25 : 0.5;
      row.load_value = run.find("4DP") != std::string::npos ? rate / 4 : rate;
      row.load = fmt::format("{} req/s", row.load_value);
      if (row.precision != "bf16" && row.precision != "fp8")
        row.skipped = "the source does not say which precision it ran in";
      const auto set = [&](const char* name, const std::string& v) {
        row.scenario.push_back({name, v, "measured server", path, csv.line()});
      };
      set("engine", "vllm@0.5.4");
      set("disable_custom_all_reduce", "true");
      set("max_model_len", "8192");
      set("request_rate", fmt::format("{}", row.load_value));
      set("num_prompts", rounded(stated(text, "n_requests=")));
      if (row.precision == "fp8") set("quantization", "fp8");
      rows.push_back(std::move(row));
    }
    // Mistral's 361-token prompts took longer than its 2,760-token ones, and the latter half as long at twice
    // the rate: whatever those first tokens waited for, it was not what is simulated.
    if (csv.field(metric) == "ttft_mean" && run.rfind("llama", 0) == 0)
      rows.back()[ServerMetric::ttft].measured = csv.number(value);
    if (csv.field(metric) == "tpot_mean") rows.back()[ServerMetric::tpot].measured = csv.number(value);
  }
  return rows;
}

/// One static batch at a time: the time of its prompts, all in one step, and the mean of its decode steps.
std::vector<ServerRow> read_splitwise(const ServerSet& source, const std::string& path) {
  CsvReader csv(ByteSource::file(path).open(), path);
  const int metric = csv.column({"metric"}), value = csv.column({"value"}),
            batch = csv.column({"batch_or_concurrency"});
  std::vector<ServerRow> rows;
  while (csv.next()) {
    ServerRow row = common_part(csv, source, path);
    row.load_value = csv.number(batch);
    row.load = fmt::format("batch of {}", row.load_value);
    row.run = fmt::format("tp{}/{}-{}/{}", row.tp, row.isl, row.osl, row.load_value);
    if (rows.empty() || rows.back().run != row.run) {
      const auto set = [&](const char* name, const std::string& v) {
        row.scenario.push_back({name, v, "measured server", path, csv.line()});
      };
      const double prompts = row.isl * row.load_value;
      set("engine", "vllm@0.2.0");
      set("num_prompts", rounded(row.load_value));
      set("max_num_batched_tokens", rounded(prompts < 4096 ? 4096 : prompts));
      if (row.isl + row.osl > 4096 && row.isl >= 4096) row.skipped = "prompts beyond the model's 4096 tokens";
      if (row.tp == 2 && row.load_value == 64) {
        row.doubt =
            "its time to the end is ten decode times of it, and its prompts took an eighth of half "
            "as many: the batch cannot have run as one";
      }
      rows.push_back(std::move(row));
    }
    const auto name = csv.field(metric);
    if (name.substr(0, 6) == "prompt") rows.back()[ServerMetric::ttft].measured = csv.number(value);
    if (name.substr(0, 5) == "token") rows.back()[ServerMetric::tpot].measured = csv.number(value);
  }
  return rows;
}

}  // namespace orrery
