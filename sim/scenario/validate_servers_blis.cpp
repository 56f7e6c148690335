#include <charconv>
#include <map>

#include <fmt/format.h>

#include "scenario/validate_servers.hpp"
#include "workload/byte_stream.hpp"
#include "workload/csv_reader.hpp"

// Both BLIS tables are long: one metric per row, keyed by a `workload` text of fields between '|' such as
//   20260217-...-llama-2-7b-tp1-codegen|stage_0|shared_prefix groups=11 users=4 sys=100 q=466 out=247 ...
//   16-llama-3-1-8b-tp1-general-1|general|stage=0|...|groups=9 users=5 sys=100 q=447 out=248 ... mbt=2048

namespace orrery {

namespace {

constexpr double kWarmUp = 20;  ///< seconds in which the prompts of a later stage are not yet cached

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out(1);
  for (const char c : text) {
    if (c == separator)
      out.emplace_back();
    else
      out.back() += c;
  }
  return out;
}

/// The value after `key=` up to the next blank; "" when absent.
std::string field(const std::string& text, const std::string& key) {
  for (const auto& word : split(text, ' ')) {
    for (const auto& part : split(word, '|')) {
      if (part.rfind(key + "=", 0) == 0) return part.substr(key.size() + 1);
    }
  }
  return {};
}

double number(const std::string& text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// The number after `'duration': ` of the stage that runs at `rate`.
std::string stage_duration(const std::string& workload, double rate) {
  std::size_t at = 0;
  while ((at = workload.find("'duration': ", at)) != std::string::npos) {
    at += 12;
    const auto stage_rate = workload.find("'rate': ", at);
    if (stage_rate == std::string::npos) break;
    const auto until = workload.find_first_of(",;}", at);
    if (number(workload.substr(stage_rate + 8, 12)) == rate) return workload.substr(at, until - at);
  }
  return "600";
}

/// "stage_0" or "stage=0" -> 0; whatever aggregates stages -> -1.
int stage_of(const std::vector<std::string>& parts) {
  for (const auto& part : parts) {
    if (part.rfind("stage_", 0) == 0 || part.rfind("stage=", 0) == 0) {
      return static_cast<int>(number(part.substr(6)));
    }
  }
  return -1;
}

void set(ServerRow& row, const std::string& name, const std::string& value) {
  row.scenario.push_back({name, value, "measured server", "", 0});
}

/// The device and the server's settings.
void describe_server(ServerRow& row, const std::string& workload, const std::string& hardware) {
  set(row, "model", row.model);
  set(row, "gpu",
      hardware.rfind("A100", 0) == 0   ? "a100-sxm-80g"
      : hardware.rfind("L40S", 0) == 0 ? "l40s"
                                       : "h100-sxm");
  set(row, "engine", "vllm@0.15.1");
  set(row, "tensor_parallel_size", std::to_string(row.tp));
  set(row, "quantization", "none");
  set(row, "dtype", "float16");
  const std::string budget = field(workload, "max_num_batched_tokens");
  set(row, "max_num_batched_tokens", budget.empty() ? field(workload, "mbt") : budget);
  const std::string seqs = field(workload, "max_num_seqs");
  set(row, "max_num_seqs", seqs.empty() ? "128" : seqs);
  const std::string blocks = field(workload, "kv_blocks");
  if (!blocks.empty()) set(row, "num_gpu_blocks_override", blocks);
  if (!blocks.empty()) set(row, "max_model_len", "4096");
}

/// Shared prefixes at a constant rate. Prompts reach the server some 25 tokens longer than drawn (they are
/// text by then, tokenised again), as the client counted them in the training set.
void describe_load(ServerRow& row, const std::string& workload, int stage) {
  constexpr int kRetokenised = 25;
  const auto question = static_cast<int>(number(field(workload, "q"))) + kRetokenised;
  set(row, "prefix",
      fmt::format("groups={},users={},system={},question={}", field(workload, "groups"),
                  field(workload, "users"), field(workload, "sys"), question));
  set(row, "random_output_len", field(workload, "out"));
  set(row, "arrivals", "constant");
  set(row, "stages", fmt::format("{}s@{}", stage_duration(workload, row.load_value), row.load_value));
  if (stage > 0) set(row, "warmup", fmt::format("{}s", kWarmUp));
  row.osl = static_cast<int>(number(field(workload, "out")));
  row.isl = static_cast<int>(number(field(workload, "sys"))) + question;
}

void put(ServerRow& row, const std::string& metric, double value) {
  if (metric == "ttft_mean") row[ServerMetric::ttft].measured = value;
  if (metric == "ttft_p90") row[ServerMetric::ttft_p90].measured = value;
  if (metric == "ttft_p99") row[ServerMetric::ttft_p99].measured = value;
  if (metric == "e2e_mean") row[ServerMetric::e2e].measured = value;
  if (metric == "e2e_p99") row[ServerMetric::e2e_p99].measured = value;
}

/// Mean TPOT from mean E2E and TTFT: the outputs are as long as asked for (end-of-sequence ignored), while
/// clients that count text chunks, or tokenise the answer again, find other lengths.
void derive_tpot(ServerRow& row) {
  const auto &e2e = row[ServerMetric::e2e].measured, &ttft = row[ServerMetric::ttft].measured;
  if (e2e && ttft && row.osl > 1) row[ServerMetric::tpot].measured = (*e2e - *ttft) / (row.osl - 1);
}

}  // namespace

std::vector<ServerRow> read_blis(const ServerSet& source, const std::string& path) {
  CsvReader csv(ByteSource::file(path).open(), path);
  const int hardware = csv.column({"hardware"}), gpus = csv.column({"gpus"}), model = csv.column({"model"}),
            rate = csv.column({"rate_rps"}), metric = csv.column({"metric"}), value = csv.column({"value"}),
            workload = csv.column({"workload"});
  std::vector<ServerRow> rows;
  std::map<std::string, std::size_t> index;
  while (csv.next()) {
    const std::string load(csv.field(workload));
    const auto parts = split(load, '|');
    const int stage = stage_of(parts);
    if (stage < 0) continue;
    const auto [it, fresh] = index.try_emplace(parts[0] + "|" + std::to_string(stage), rows.size());
    if (fresh) {
      ServerRow& row = rows.emplace_back();
      row.set = source.name;
      row.run = parts[0];
      row.hardware = csv.field(hardware);
      row.model = csv.field(model);
      row.precision = "fp16";
      row.tp = static_cast<int>(csv.number(gpus));
      row.load_value = csv.number(rate);
      row.load = fmt::format("{} req/s", row.load_value);
      if (source.name != "blis-training" &&
          (load.find("llama-2-7b") != std::string::npos || load.find("codellama-34b") != std::string::npos)) {
        row.skipped = "the same run as in blis-training";
        continue;
      }
      describe_server(row, load, row.hardware);
      describe_load(row, load, stage);
    }
    put(rows[it->second], std::string(csv.field(metric)), csv.number(value));
  }
  for (auto& row : rows) derive_tpot(row);
  return rows;
}

}  // namespace orrery
