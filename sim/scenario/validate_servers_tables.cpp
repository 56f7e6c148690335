#include <algorithm>

#include <fmt/format.h>

#include "scenario/bench_table.hpp"
#include "scenario/validate_servers.hpp"
#include "scenario/value_forms.hpp"
#include "workload/byte_stream.hpp"
#include "workload/csv_reader.hpp"

namespace orrery {

namespace {

std::string short_model(const std::string& model) {
  return model.substr(model.find_last_of('/') + 1);
}

int count(const std::string& text) {
  return text.empty() ? 0 : static_cast<int>(parse_number(text));
}

}  // namespace

std::vector<ServerRow> read_closed_loop(const ServerSet& source, const std::string& path) {
  const BenchTable table = read_bench_table(path);
  std::vector<ServerRow> rows;
  for (const BenchRow& from : table.rows) {
    const auto at = [&](const char* column) { return table.at(from, column); };
    ServerRow row;
    row.set = source.name;
    row.hardware = at("hardware");
    row.model = at("model");
    row.precision = at("precision");
    row.engine = at("framework");
    row.tp = std::max(1, count(at("tp")));
    row.isl = count(at("isl_max"));
    row.osl = count(at("osl_max"));
    row.load_value = count(at("concurrency"));
    row.load = fmt::format("{} users", row.load_value);
    row.run = fmt::format("{}/{}/{}/{}/tp{}/{}-{}", row.hardware, short_model(row.model), row.precision,
                          row.engine, row.tp, row.isl, row.osl);
    row.skipped = from.skipped;
    row.scenario = from.assignments;
    if (row.hardware == "h200_sxm" && row.engine == "vllm" && from.trust_tpot && !from.trust_ttft) {
      row.doubt =
          "vLLM on H200 in the comparison of engines: its prompts would need most of the FP8 peak beside "
          "the decoding, so that they were probably cached";
    }
    if (from.trust_ttft) row[ServerMetric::ttft].measured = from.ttft_ms;
    if (from.trust_tpot) row[ServerMetric::tpot].measured = from.tpot_ms;
    rows.push_back(std::move(row));
  }
  return rows;
}

namespace {

/// "trtllm-bench throughput; 30000 identical random requests; TP=1" -> 30000; enough to saturate where the
/// number is not given.
std::string requests_of(const std::string& workload) {
  const auto at = workload.find("; ");
  const auto end = at == std::string::npos ? at : workload.find(' ', at + 2);
  const std::string text = end == std::string::npos ? std::string() : workload.substr(at + 2, end - at - 2);
  return text.empty() || text.find_first_not_of("0123456789") != std::string::npos ? "3000" : text;
}

}  // namespace

std::vector<ServerRow> read_max_throughput(const ServerSet& source, const std::string& path) {
  CsvReader csv(ByteSource::file(path).open(), path);
  const int hardware = csv.column({"hardware"}), gpus = csv.column({"gpus"}), model = csv.column({"model"}),
            precision = csv.column({"precision"}), framework = csv.column({"framework"}),
            isl = csv.column({"isl"}), osl = csv.column({"osl"}), metric = csv.column({"metric"}),
            value = csv.column({"value"}), workload = csv.column({"workload"});
  std::vector<ServerRow> rows;
  while (csv.next()) {
    const std::string engine(csv.field(framework));
    if (csv.field(metric) != "output_tok_per_s_total" || engine.find("pytorch") == std::string::npos)
      continue;
    ServerRow row;
    row.set = source.name;
    row.hardware = csv.field(hardware);
    row.model = csv.field(model);
    row.precision = csv.field(precision);
    row.engine = "trtllm";
    row.tp = static_cast<int>(csv.number(gpus));
    row.isl = static_cast<int>(csv.number(isl));
    row.osl = static_cast<int>(csv.number(osl));
    row.load = "all at once";
    row.run = fmt::format("{}/{}/{}/tp{}/{}/{}-{}", row.hardware, row.model, row.precision, row.tp,
                          engine.substr(0, engine.find(" (")), row.isl, row.osl);
    row[ServerMetric::throughput].measured = csv.number(value);
    if (row.precision == "fp4") row.skipped = "fp4 is not modelled yet";
    const auto set = [&](const char* name, const std::string& text) {
      row.scenario.push_back({name, text, "measured server", path, csv.line()});
    };
    set("model", row.model);
    set("gpu", row.hardware);
    set("engine", "trtllm@1.0.0");
    set("tensor_parallel_size", std::to_string(row.tp));
    set("quantization", row.precision);
    set("kv_cache_dtype", row.precision);
    set("random_input_len", std::to_string(row.isl));
    set("random_output_len", std::to_string(row.osl));
    set("num_prompts", requests_of(std::string(csv.field(workload))));
    set("enable_prefix_caching", "false");
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace orrery
