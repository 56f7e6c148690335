#include <cmath>

#include "base/error.hpp"
#include "workload/synthetic_source.hpp"

namespace orrery {
namespace {

using Points = std::vector<std::pair<double, double>>;

/// Quantiles of a published trace; input and output are drawn independently, which the traces are not quite.
struct Builtin {
  const char* name;
  double rate;  ///< requests/s
  double cv;    ///< of the inter-arrival times
  std::int64_t requests;
  Points input, output;
};

const std::vector<Builtin>& builtins() {
  // conversation, code: Azure LLM inference trace 2023 (github.com/Azure/AzurePublicDataset, CC-BY-4.0;
  // described in Patel et al., "Splitwise", ISCA 2024): number of requests, mean rate, CV of the gaps, p50,
  // p90, p99 and maximum of both; for the conversation also p0 to p25, p75, p95. The lower half of the code
  // lengths is not published: a start at 30 prompt and 2 output tokens is assumed. summarisation: arXiv
  // summarisation lengths as used by Agrawal et al., "Vidur", MLSys 2024 (github.com/microsoft/vidur, MIT):
  // prompts and answers within 4,096 tokens together. It has no times: 1 request/s, Poisson.
  static const std::vector<Builtin> all = {
      {"code",
       2.57,
       13.15,
       8819,
       {{0, 30}, {0.5, 1469}, {0.9, 5186}, {0.99, 7436}, {1, 7437}},
       {{0, 2}, {0.5, 13}, {0.9, 55}, {0.99, 249}, {1, 1899}}},
      {"conversation",
       5.53,
       1.09,
       19366,
       {{0, 2},
        {0.01, 29},
        {0.05, 181},
        {0.1, 207},
        {0.25, 396},
        {0.5, 1020},
        {0.75, 1189},
        {0.9, 2734},
        {0.95, 4083},
        {0.99, 4142},
        {1, 14050}},
       {{0, 7},
        {0.01, 16},
        {0.05, 41},
        {0.1, 54},
        {0.25, 85},
        {0.5, 129},
        {0.75, 395},
        {0.9, 424},
        {0.95, 451},
        {0.99, 601},
        {1, 1000}}},
      {"summarisation",
       1.0,
       1.0,
       28257,
       {{0, 1},
        {0.01, 73},
        {0.05, 749},
        {0.1, 1242},
        {0.25, 1986},
        {0.5, 2730},
        {0.75, 3370},
        {0.9, 3702},
        {0.95, 3813},
        {0.99, 3933},
        {1, 4054}},
       {{0, 5},
        {0.01, 36},
        {0.05, 60},
        {0.1, 78},
        {0.25, 115},
        {0.5, 167},
        {0.75, 242},
        {0.9, 372},
        {0.95, 736},
        {0.99, 3271},
        {1, 4056}}},
  };
  return all;
}

LengthSpec through(const Points& points) {
  LengthSpec spec;
  spec.distribution = "quantiles";
  spec.quantiles = points;
  return spec;
}

}  // namespace

std::vector<std::string> builtin_workloads() {
  std::vector<std::string> names;
  for (const auto& b : builtins()) names.emplace_back(b.name);
  return names;
}

WorkloadSpec builtin_workload(const std::string& name, WorkloadSpec spec) {
  for (const auto& b : builtins()) {
    if (name != b.name) continue;
    if (spec.input.distribution.empty()) spec.input = through(b.input);
    if (spec.output.distribution.empty()) spec.output = through(b.output);
    if (std::isinf(spec.request_rate) && spec.arrivals.stages.empty()) {
      spec.request_rate = b.rate;
      if (spec.arrivals.process == "poisson" && spec.burstiness == 1) {
        spec.arrivals.process = "gamma";
        spec.arrivals.cv = b.cv;
      }
    }
    if (spec.num_prompts == 0 && spec.duration_s == 0 && spec.arrivals.stages.empty())
      spec.num_prompts = b.requests * spec.loop;
    return spec;
  }
  throw ConfigError("unknown built-in workload '" + name + "'", suggestion(name, builtin_workloads()));
}

}  // namespace orrery
