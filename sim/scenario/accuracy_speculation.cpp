#include "scenario/accuracy_speculation.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <tuple>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/quantile.hpp"
#include "cost/step_pricer.hpp"
#include "hw/device_profile.hpp"
#include "scenario/value_forms.hpp"
#include "serving/decoder.hpp"
#include "workload/byte_stream.hpp"
#include "workload/csv_reader.hpp"

namespace orrery {

namespace {

constexpr Tokens kContext = 512;  ///< of the sequence: prompts of Spec-Bench and half an answer

/// How a method drafts, as its code does by default.
struct Drafter {
  const char* name;
  int verified;      ///< tokens in a verifying step: 1 and those drafted, or the nodes of its tree
  int passes;        ///< of the draft; 0 = none
  int draft_layers;  ///< 1 = a layer of the target's width (EAGLE)
};
/// Prompt lookup: 10 tokens (Saxena, 2023). SpS: Vicuna-68M, 5 tokens (transformers' first number). EAGLE: a
/// tree 5 deep of some 26 nodes. Medusa: 64 nodes, its heads are part of the step.
constexpr Drafter kDrafters[] = {
    {"PLD", 11, 0, 0}, {"SpS", 6, 5, 2}, {"EAGLE", 26, 5, 1}, {"Medusa", 64, 0, 0}};

/// A model like `base` of other sizes: heads of 64, as Llama-68M.
ModelSpec resized(const ModelSpec& base, std::int64_t hidden, int layers, std::int64_t width) {
  ModelSpec m = base;
  LayerKind kind = base.kinds.front();
  auto& attention = std::get<AttentionParams>(kind.mixers.front());
  attention.heads = attention.kv_heads = hidden / 64;
  attention.head_dim = 64;
  std::get<DenseParams>(kind.ffn).width = width;
  kind.count = layers;
  m.hidden = hidden;
  m.kinds = {kind};
  m.pattern.assign(static_cast<std::size_t>(layers), 0);
  return m;
}

ModelSpec draft_of(const Drafter& d, const ModelSpec& target) {
  if (d.draft_layers == 1) {
    ModelSpec m = target;
    m.kinds.front().count = 1;
    m.pattern = {0};
    return m;
  }
  return resized(target, 768, d.draft_layers, 3072);
}

/// Milliseconds of a step's kernels, nothing between them.
double kernels_ms(const ModelSpec& model, const DeviceProfile& device, std::int64_t queries) {
  const Topology topology = topology_for(device);
  Drafting drafting;
  drafting.queries = queries;
  StepPricer pricer(model, Shard{}, device, topology, KernelPlan{}, best_cost_model(device, topology),
                    drafting);
  DecodeSet set;
  set.seqs = 1, set.context = kContext;
  return to_ms(pricer.decode(set).first);
}

SpeculativeSpeedup predict(const Drafter& d, const ModelSpec& target, const DeviceProfile& device,
                           double tau) {
  SpeculativeSpeedup out;
  out.method = d.name;
  out.tokens_per_step = tau;
  const double plain = kernels_ms(target, device, 1);
  double step = kernels_ms(target, device, d.verified);
  if (d.passes > 0) step += d.passes * kernels_ms(draft_of(d, target), device, 1);
  out.by_kernels = tau * plain / step;
  out.by_launches = tau / (1 + static_cast<double>(d.passes * d.draft_layers) / target.layers());
  return out;
}

/// "A100-80GB" in the tables; "" = a device without a profile.
std::string device_of(const std::string& hardware) {
  return hardware == "A100-80GB" ? "a100-sxm-80g" : "";
}

CsvReader open_table(const std::string& path) {
  return CsvReader(ByteSource::file(path).open(), path);
}

std::string part(const std::string& text, int i) {
  std::size_t start = 0;
  for (; i > 0 && start != std::string::npos; --i) start = text.find(';', start) + 1;
  while (start < text.size() && text[start] == ' ') ++start;
  return text.substr(start, text.find(';', start) - start);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return quantile_sorted(values, 0.5);
}

std::string lengths_table(const std::vector<AcceptanceLengths>& all) {
  std::string out =
      "### Tokens a step against drafted tokens\n\nIf each drafted token were kept with the chance of the "
      "first "
      "one, given those before it, how many tokens a step\nwould come? Against InferenceX's measured "
      "acceptance "
      "lengths (SPEED-Bench coding): real chances fall with the position,\nso that one number taken from "
      "short "
      "drafts promises too much for long ones. Give `acceptance` by position where it is known.\n\n"
      "| drafted tokens | runs | median error % | largest % |\n|---:|---:|---:|---:|\n";
  for (std::size_t i = 1; i < 8; ++i) {
    std::vector<double> errors;
    for (const auto& a : all) {
      if (i < a.measured.size()) errors.push_back(a.constant_chance()[i] / a.measured[i] - 1);
    }
    if (errors.empty()) continue;
    const double largest = *std::max_element(errors.begin(), errors.end(),
                                             [](double x, double y) { return std::abs(x) < std::abs(y); });
    out += fmt::format("| {} | {} | {:+.1f} | {:+.1f} |\n", i + 1, errors.size(), 100 * median(errors),
                       100 * largest);
  }
  return out + "\n";
}

std::string speedups_table(const std::vector<SpeculativeSpeedup>& rows) {
  std::string out =
      "### Speed-up of one sequence\n\nSpec-Bench, Vicuna-7B in fp16, greedy, mean of its tasks; tokens a "
      "step as "
      "measured. *By kernels* divides them by the\ntime of verifying and drafting kernels; *by launches* "
      "takes "
      "every layer for as long as its launches, which is nearer to\nthe eager PyTorch these rows ran in. "
      "Building "
      "trees, caches and samples on the host is in neither, so both are upper bounds.\nTrees are not "
      "simulated: "
      "their nodes are priced as tokens of a chain.\n\n"
      "| device | method | tokens a step | measured | by kernels | error % | by launches | error % |\n"
      "|---|---|---:|---:|---:|---:|---:|---:|\n";
  for (const auto& r : rows) {
    out += fmt::format("| {} | {} | {:.2f} | {:.2f} | {:.2f} | {:+.0f} | {:.2f} | {:+.0f} |\n", r.hardware,
                       r.method, r.tokens_per_step, r.measured, r.by_kernels,
                       100 * (r.by_kernels / r.measured - 1), r.by_launches,
                       100 * (r.by_launches / r.measured - 1));
  }
  return out + "\n";
}

}  // namespace

std::vector<double> AcceptanceLengths::constant_chance() const {
  std::vector<double> out;
  for (std::size_t i = 1; i <= measured.size(); ++i) {
    DecoderParams p;
    p.method = DraftMethod::mtp;
    p.num_speculative_tokens = static_cast<int>(i);
    p.acceptance = {measured.front() - 1};
    out.push_back(Decoder(p).tokens_per_step());
  }
  return out;
}

std::vector<AcceptanceLengths> read_acceptance_lengths(const std::string& path) {
  CsvReader csv = open_table(path);
  const int model = csv.column({"model"}), method = csv.column({"framework"}), value = csv.column({"value"}),
            workload = csv.column({"workload"});
  std::map<std::tuple<std::string, std::string, std::string>, std::map<int, double>> found;
  while (csv.next()) {
    const std::string about(csv.field(workload));
    const std::string drafted = part(about, 0);
    const int tokens = static_cast<int>(parse_number(drafted.substr(drafted.find('=') + 1)));
    found[{std::string(csv.field(model)), std::string(csv.field(method)), part(about, 1)}][tokens] =
        csv.number(value);
  }
  std::vector<AcceptanceLengths> out;
  for (const auto& [key, lengths] : found) {
    AcceptanceLengths a{std::get<0>(key), std::get<1>(key), std::get<2>(key), {}};
    for (const auto& [tokens, length] : lengths) {
      if (tokens == static_cast<int>(a.measured.size()) + 1) a.measured.push_back(length);
    }
    if (!a.measured.empty()) out.push_back(std::move(a));
  }
  return out;
}

std::vector<SpeculativeSpeedup> predict_speedups(const std::string& path) {
  CsvReader csv = open_table(path);
  const int hardware = csv.column({"hardware"}), method = csv.column({"framework"}),
            metric = csv.column({"metric"}), value = csv.column({"value"});
  std::map<std::pair<std::string, std::string>, std::map<std::string, double>> found;
  while (csv.next()) {
    const std::string name(csv.field(method));
    found[{std::string(csv.field(hardware)), name.substr(0, name.find(' '))}]
         [std::string(csv.field(metric))] = csv.number(value);
  }
  std::vector<SpeculativeSpeedup> out;
  for (const auto& [key, values] : found) {
    const std::string device = device_of(key.first);
    const auto* drafter = std::find_if(std::begin(kDrafters), std::end(kDrafters),
                                       [&, name = key.second](const Drafter& d) { return name == d.name; });
    if (device.empty() || drafter == std::end(kDrafters)) continue;
    auto row = predict(*drafter, load_model("llama-7b"), load_device(device),
                       values.at("spec_decode_mean_accepted_tokens"));
    row.hardware = key.first;
    row.measured = values.at("spec_decode_speedup_overall");
    out.push_back(row);
  }
  return out;
}

std::string speculation_section(const std::string& folder) {
  const std::string lengths = folder + "/spec_acceptance_length_inferencex.csv";
  const std::string speedups = folder + "/speculative_decoding.csv";
  std::error_code ignored;
  if (!std::filesystem::exists(lengths, ignored) || !std::filesystem::exists(speedups, ignored)) return "";
  return "## Speculative decoding\n\n" + speedups_table(predict_speedups(speedups)) +
         lengths_table(read_acceptance_lengths(lengths));
}

}  // namespace orrery
