// How fast the simulator is: requests, steps and events per CPU-second, and peak memory, on fixed workloads.
// Not a test: times depend on the machine. Each case runs in its own process, so that its peak memory is its
// own.
//
//   orrery_bench [--requests N] [CASE...]
//
// ORRERY_REFERENCE_DATA names a folder of public traces (traces/azure2023_conv.csv,
// traces/mooncake_conversation.jsonl); without it the built-in conversation workload stands in and the row
// says so.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu_time.hpp"
#include "report/metrics.hpp"
#include "server.hpp"
#include "step_prices.hpp"
#include "workload/source.hpp"

namespace orrery::bench {
namespace {

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

/// A trace of the reference folder, or the built-in conversation.
std::string trace(const char* file) {
  const char* folder = std::getenv("ORRERY_REFERENCE_DATA");
  const std::string path = folder ? std::string(folder) + "/traces/" + file : "";
  return !path.empty() && std::filesystem::exists(path) ? path : "builtin:conversation";
}

constexpr std::int64_t kAzureRequests = 19366;

struct Case {
  const char* name;
  const char* help;
  void (*run)(std::int64_t requests);
};

/// Simulates with the metrics a run without output files collects, and prints the row.
void measure(const char* name, const Server& server, const WorkloadSpec& workload) {
  const double start = cpu_seconds();
  const ClusterConfig cluster = deploy(server).cluster;
  const RequestSourcePtr source = make_source(workload, 0);
  MetricsOptions options;
  options.replicas = server.replicas;
  Metrics metrics(options);
  Observer* const observers[] = {&metrics};
  const SimulationResult result = simulate(cluster, *source, observers);
  const Summary summary = metrics.summary();
  const double cpu = cpu_seconds() - start;
  const auto per_s = [&](std::int64_t n) { return static_cast<double>(n) / cpu; };
  double busy = 0;
  for (const Ps b : result.busy) busy += to_seconds(b).value;
  busy /= to_seconds(result.end).value * static_cast<double>(result.busy.size());
  fmt::print("{:<10}{:>10}{:>11.0f}{:>9.3f}{:>12.0f}{:>12.0f}{:>12.0f}{:>9.0f}{:>9.0f}{:>7.0f}{}\n", name,
             result.completed, to_seconds(result.end).value, cpu, per_s(result.completed),
             per_s(result.steps), per_s(result.events), 1e9 / per_s(result.steps), peak_mib(), 100 * busy,
             workload.trace.starts_with("builtin:") ? "  (built-in workload: no reference trace)" : "");
  if (result.completed != summary.completed) std::exit(1);
}

WorkloadSpec azure(std::int64_t requests) {
  WorkloadSpec w;
  w.trace = trace("azure2023_conv.csv");
  w.num_prompts = requests;
  w.loop = (requests + kAzureRequests - 1) / kAzureRequests;
  return w;
}

void run_azure(std::int64_t requests) {
  measure("azure", {}, azure(requests > 0 ? requests : kAzureRequests));
}

/// Requests per second that one replica serves when everything has arrived.
double saturation_rps(const Server& server) {
  WorkloadSpec w = azure(kAzureRequests);
  w.rate_scale = 1e6;
  const ClusterConfig cluster = deploy(server).cluster;
  const RequestSourcePtr source = make_source(w, 0);
  const SimulationResult result = simulate(cluster, *source, {});
  return static_cast<double>(result.completed) / to_seconds(result.end).value;
}

void measure_million(const char* name, Server server, std::int64_t requests) {
  constexpr int kReplicas = 16;
  WorkloadSpec w = azure(requests > 0 ? requests : 1'000'000);
  w.target_rps = 0.7 * kReplicas * saturation_rps(server);
  server.replicas = kReplicas;
  measure(name, server, w);
}

void run_million(std::int64_t requests) {
  measure_million("million", {}, requests);
}

void run_experts(std::int64_t requests) {
  Server server;
  server.model = "deepseek-v3", server.gpu = "h200-sxm", server.tensor_parallel_size = 8;
  measure_million("experts", server, requests);
}

void run_hybrid(std::int64_t requests) {
  Server server;
  server.model = "jamba-v0.1", server.gpu = "h200-sxm";
  measure_million("hybrid", server, requests);
}

void run_mooncake(std::int64_t requests) {
  WorkloadSpec w;
  w.trace = trace("mooncake_conversation.jsonl");
  w.num_prompts = requests;
  w.read.spread_ties = SpreadTies::poisson;
  Server server;
  server.replicas = 4;
  server.router = "prefix_aware";
  measure("mooncake", server, w);
}

void run_long(std::int64_t requests) {
  WorkloadSpec w;
  w.num_prompts = requests > 0 ? requests : 100'000;
  w.random_input_len = 32768;
  w.random_output_len = 256;
  Server server;
  server.max_num_batched_tokens = 2048;
  measure("long", server, w);
}

void run_prices(std::int64_t) {
  print_step_prices();
}

const Case kCases[] = {
    {"azure", "the Azure 2023 conversation trace on one H100, Llama-3.1-8B", run_azure},
    {"million", "the same trace looped to a million requests, 16 replicas at 70% of saturation", run_million},
    {"experts", "the same for DeepSeek-V3 on eight H200 a replica", run_experts},
    {"hybrid", "the same for Jamba-v0.1 on one H200 a replica", run_hybrid},
    {"mooncake", "Mooncake conversation with prefix ids, 4 replicas, prefix_aware router", run_mooncake},
    {"long", "one replica saturated by 32k-token prompts, 256 out, token budget 2048", run_long},
    {"prices", "single calls of the step pricer", run_prices},
};

/// Runs a case in a child process; returns whether it succeeded.
bool run_apart(const Case& c, std::int64_t requests) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    int status = 0;
    try {
      c.run(requests);
    } catch (const std::exception& e) {
      fmt::print("{:<10}failed: {}\n", c.name, e.what());
      status = 1;
    }
    std::fflush(stdout);
    _exit(status);
  }
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int usage() {
  fmt::print(stderr, "usage: orrery_bench [--requests N] [CASE...]\n");
  for (const Case& c : kCases) fmt::print(stderr, "  {:<10}{}\n", c.name, c.help);
  return 2;
}

int main(int argc, char** argv) {
  std::int64_t requests = 0;
  std::vector<const Case*> chosen;
  for (int i = 1; i < argc; ++i) {
    const Case* found = nullptr;
    for (const Case& c : kCases) {
      if (std::strcmp(argv[i], c.name) == 0) found = &c;
    }
    if (found) {
      chosen.push_back(found);
    } else if (std::strcmp(argv[i], "--requests") == 0 && i + 1 < argc) {
      requests = std::atoll(argv[++i]);
    } else {
      return usage();
    }
  }
  if (chosen.empty()) {
    for (const Case& c : kCases) chosen.push_back(&c);
  }
  fmt::print("{:<10}{:>10}{:>11}{:>9}{:>12}{:>12}{:>12}{:>9}{:>9}{:>7}\n", "case", "requests", "simulated s",
             "cpu s", "requests/s", "steps/s", "events/s", "ns/step", "MiB", "busy%");
  bool ok = true;
  for (const Case* c : chosen) ok = run_apart(*c, requests) && ok;
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace orrery::bench

int main(int argc, char** argv) {
  return orrery::bench::main(argc, argv);
}
