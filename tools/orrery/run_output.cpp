#include "run_output.hpp"

#include <cstdio>
#include <ctime>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "interrupt.hpp"
#include "report/render.hpp"
#include "report/text.hpp"

namespace orrery {

namespace {

std::string pools_lines(const PoolsReport& p) {
  const auto pool = [](const PoolsReport::Pool& x) {
    return fmt::format("{} GPUs {:.0f} % busy", x.gpus, 100 * x.utilisation);
  };
  const TransferSummary& t = p.transfers;
  std::string out = fmt::format(" pools        prefill {}, decode {}\n", pool(p.prefill), pool(p.decode));
  out += fmt::format(
      " KV transfer  waited for {:.2f} ms, p99 {:.2f} ms (of it for blocks {:.2f} ms); {:.3g} GB, {}\n",
      t.mean_exposed_ms, t.p99_exposed_ms, t.mean_blocked_ms, t.bytes / 1e9, p.fabric);
  return out;
}

std::string fleet_lines(const FleetSummary& f) {
  std::string out = fmt::format(" replicas     {:.2f} of {} up on the mean ({} to {})", f.mean_up, f.replicas,
                                f.least_up, f.most_up);
  if (f.failures > 0) out += fmt::format(", {} failures", f.failures);
  if (f.starts > 0)
    out +=
        fmt::format(", {} started ({:.0f} s each)", f.starts, f.starting_s / static_cast<double>(f.starts));
  if (f.stops > 0) out += fmt::format(", {} stopped", f.stops);
  out += fmt::format("; {:.4g} replica-hours paid for\n", f.billed_s() / 3600);
  if (f.retries == 0) return out;
  return out + fmt::format(" retries      {} of {} requests; {} streamed tokens kept, {} discarded\n",
                           f.retries, f.retried_requests, f.tokens_kept, f.tokens_discarded);
}

std::string migration_line(const MigrationSummary& m) {
  return fmt::format(
      " migration    {} sequences moved, {} stayed; paused for {:.2f} ms, p99 {:.2f} ms, of {:.1f} ms; "
      "{:.3g} GB\n",
      m.moved, m.given_up, m.mean_pause_ms, m.p99_pause_ms, m.mean_ms, m.bytes / 1e9);
}

std::string device_lines(const std::vector<DeviceReport>& reports) {
  std::string out;
  for (const DeviceReport& r : reports) {
    out += fmt::format(" {:<13}{} replicas ({}) {:.0f} % busy, {} requests, {} output tokens", r.gpu,
                       r.replicas, r.parallelism, 100 * r.utilisation, grouped(r.totals.completed),
                       grouped(r.totals.output_tokens));
    if (r.usd_per_hour) out += fmt::format(", ${:.3g} an hour", *r.usd_per_hour);
    out += '\n';
  }
  return out;
}

std::string offloading_lines(const OffloadingReport& o) {
  std::string out;
  for (const OffloadingReport::Tier& t : o.tiers) {
    out += fmt::format(" KV tier      {}: {:.1f} % of prompt tokens; {:.3g} GB read, {:.3g} GB written\n",
                       t.name, 100 * t.hit_share, t.read_bytes / 1e9, t.written_bytes / 1e9);
  }
  if (o.swapped_out_bytes > 0) {
    out += fmt::format(" KV swapped   {:.3g} GB out, {:.3g} GB back\n", o.swapped_out_bytes / 1e9,
                       o.swapped_in_bytes / 1e9);
  }
  return out + fmt::format(" KV loads     {}, waited for {:.2f} ms each\n", o.loads, o.mean_load_ms);
}

std::string footer(const RunResult& r) {
  std::string out;
  const Summary& s = r.summary;
  if (!r.speculation.decoder.plain()) {
    out += fmt::format(" speculation  {}; drafting is {:.1f} % of the time\n", describe(r.speculation),
                       100 * r.draft_share);
  }
  if (!r.offload.policy.none()) out += fmt::format(" offloading   {}\n", describe(r.offload));
  if (r.pools) out += pools_lines(*r.pools);
  if (r.fleet) out += fleet_lines(*r.fleet);
  if (r.migrations) out += migration_line(*r.migrations);
  out += device_lines(r.devices);
  if (r.offloading) out += offloading_lines(*r.offloading);
  if (r.saturation_rps && s.request_throughput > 0 && !s.info.max_concurrency) {
    out += fmt::format(" headroom     saturates near {:.3g} req/s", *r.saturation_rps);
    if (s.arrival_rps > 0)
      out += fmt::format(" (you are at {:.0f} %)", 100 * s.arrival_rps / *r.saturation_rps);
    out += '\n';
  }
  if (r.directory.empty()) return out;
  out += fmt::format(" wrote {}/  ", r.directory);
  for (const char* name : {"report.html", "summary.json", "requests.csv", "timeseries.csv",
                           "timeline.pftrace", "manifest.json"}) {
    std::error_code ignored;
    if (std::filesystem::exists(r.directory + "/" + name, ignored)) out += fmt::format(" {}", name);
  }
  return out + '\n';
}

void print_lines(const char* label, const std::vector<std::string>& lines, const OutputOptions& output) {
  if (output.quiet) return;
  for (const auto& line : lines) std::fprintf(stderr, "%s: %s\n", label, line.c_str());
}

}  // namespace

void print_notes(const std::vector<std::string>& notes, const OutputOptions& output) {
  print_lines("note", notes, output);
}

void print_warnings(const std::vector<std::string>& warnings, const OutputOptions& output) {
  print_lines("warning", warnings, output);
}

int print_result(const RunResult& r, const OutputOptions& output) {
  if (output.json) {
    print_warnings(r.summary.warnings, output);
    const std::string text = to_json(r).dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
    std::fputs(text.c_str(), stdout);
  } else {
    RenderOptions render = render_options_for(STDOUT_FILENO);
    if (output.color != "auto") render.color = output.color == "always";
    render.wall_s = r.wall_s;
    const std::string text = output.quiet ? render_verdict(r.summary, render)
                                          : render_verdict_and_table(r.summary, render) + footer(r);
    std::fputs(text.c_str(), stdout);
  }
  if (r.simulation.interrupted) return kInterruptedExit;
  const bool nothing_served = r.summary.completed == 0 && r.simulation.requests > 0;
  return static_cast<int>(r.summary.slo_met() && !nothing_served ? ExitCode::ok : ExitCode::slo_missed);
}

std::string choose_directory(const std::string& out, const std::string& model) {
  if (out == "none") return "";
  return out.empty() ? run_directory_name("runs", model, std::time(nullptr)) : out;
}

}  // namespace orrery
