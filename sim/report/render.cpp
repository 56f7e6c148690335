#include "report/render.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "report/text.hpp"

namespace orrery {

namespace {

/// "H100" of h100-sxm.
std::string upper_gpu(const std::string& gpu) {
  std::string out = gpu.substr(0, gpu.find('-'));
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

std::string hardware(const Summary& s, const Style& style) {
  const auto& info = s.info;
  const int gpus = info.all_gpus();
  const std::string gpu = info.gpu.empty() ? "GPU" : upper_gpu(info.gpu);
  const std::string replicas = info.replicas > 1 ? fmt::format(", {} replicas", info.replicas) : "";
  return fmt::format("{}{} {} ({}{})", gpus, style.times(), gpu, info.parallelism, replicas);
}

std::string circumstances(const Summary& s, const RenderOptions& options) {
  std::string out = fmt::format("{} req/s, {} requests, {} simulated", brief(s.request_throughput),
                                grouped(s.completed + s.failed), duration_text(s.simulated_s));
  if (options.wall_s > 0) out += " in " + duration_text(options.wall_s);
  return out;
}

std::string line_of(const Verdict& v, const Style& style) {
  if (v.badge.empty()) return v.text;
  const std::string badge = v.badge == "PASS"   ? style.green(v.badge)
                            : v.badge == "FAIL" ? style.red(v.badge)
                                                : style.yellow(v.badge);
  return fmt::format("{}  {}", badge, v.text);
}

/// On one line where it fits; else the circumstances get their own.
std::string verdict_lines(const Summary& s, const RenderOptions& options, const Style& style) {
  const std::string one = render_verdict(s, options);
  if (display_width(one) <= static_cast<std::size_t>(options.width) + 1) return one;  // the line's end
  const Verdict v = judge(s, options);
  std::string out = style.paragraph(line_of(v, style), 8);
  if (!v.how.empty()) out += style.paragraph(fmt::format("       ({})", v.how), 8);
  return out;
}

std::string slo_text(const SloResult& r, const Style& style) {
  if (r.term.target != SloTerm::Target::latency) {
    const bool share = r.term.target == SloTerm::Target::attainment;
    const auto number = [&](double v) {
      return share ? fmt::format("{:.1f} %", 100 * v) : brief(v) + " req/s";
    };
    const auto text = fmt::format("{} {} {} {}", share ? "attainment" : "goodput", number(r.value),
                                  r.pass ? style.at_least() : "<", number(r.term.limit));
    return r.pass ? text : style.red(text);
  }
  const std::string statistic =
      r.term.over == SloTerm::Over::mean ? "mean" : fmt::format("p{:g}", r.term.percentile);
  const auto text = fmt::format("{} {} {} ms {} {:g}", label(r.term.metric), statistic, brief(r.value),
                                r.pass ? style.at_most() : ">", r.term.limit);
  return r.pass ? text : style.red(text);
}

std::string slo_line(const Summary& s, const RenderOptions& options, const Style& style) {
  std::vector<std::string> parts;
  for (const auto& r : s.slo) parts.push_back(slo_text(r, style));
  if (s.request_goodput && s.attainment) {
    parts.push_back(
        fmt::format("goodput {} req/s ({:.1f} %)", brief(*s.request_goodput), 100 * *s.attainment));
  }
  std::string out, line;
  for (const auto& part : parts) {
    const auto columns = display_width(line) + 4 + display_width(part);
    if (!line.empty() && columns > static_cast<std::size_t>(std::max(40, options.width))) {
      out += line + "\n";
      line.clear();
    }
    line += line.empty() ? "        " : "    ";
    line += part;
  }
  return line.empty() ? out : out + line + "\n";
}

std::string latency_table(const Summary& s, const Style& style) {
  std::string head = fmt::format(" {:<13}{:>9}", "metric", "mean");
  const auto& columns = s[Metric::ttft].percentiles;
  for (const auto& [p, value] : columns) head += fmt::format("{:>9}", fmt::format("p{:g}", p));
  std::string out = style.dim(head) + "\n";
  for (int i = 0; i < kMetricCount; ++i) {
    const auto metric = static_cast<Metric>(i);
    const auto& stats = s[metric];
    const bool in_seconds = stats.mean >= 1000;
    const double unit = in_seconds ? 1e3 : 1;
    const double typical = stats.mean / unit;
    const int decimals = typical < 1 ? 3 : typical < 10 ? 2 : 1;
    out += fmt::format(" {:<10}{:>3}{:>9}", label(metric), in_seconds ? "s" : "ms",
                       grouped(stats.mean / unit, decimals));
    for (const auto& [p, value] : stats.percentiles) {
      out += fmt::format("{:>9}", grouped(value / unit, decimals));
    }
    out += "\n";
  }
  return out;
}

/// Said where memory is wasted that much, or kept from those who wait.
std::string memory_row(const KvMemory& m, const Style& style) {
  constexpr double kWorthSaying = 0.02;
  if (m.internal_waste() < kWorthSaying && m.free_while_waiting < kWorthSaying) return {};
  std::vector<std::string> parts{fmt::format("allocated {} on the mean", percent(m.allocated)),
                                 percent(m.internal_waste()) + " of it without tokens"};
  if (m.set_aside > 0) parts.back() += fmt::format(" (set aside {} of the pool)", percent(m.set_aside));
  if (m.free_while_waiting >= kWorthSaying)
    parts.push_back(percent(m.free_while_waiting) + " free while requests wait");
  return style.row("KV memory", parts);
}

std::string load_rows(const Summary& s, const Style& style) {
  const auto limit = [](std::int64_t n) { return n > 0 ? fmt::format(" (limit {})", grouped(n)) : ""; };
  std::string kv = fmt::format("KV used p99 {}", percent(s.kv_used.p99));
  if (s.info.kv_capacity_tokens > 0) kv += fmt::format(" of {} tokens", grouped(s.info.kv_capacity_tokens));
  if (s.info.kv_max_concurrency) {
    kv += fmt::format(" ({} sequences of {})", grouped(*s.info.kv_max_concurrency, 1),
                      grouped(s.info.max_model_len));
  }
  std::string out =
      style.row("load", {fmt::format("running p99 {:.0f}{}", s.running.p99, limit(s.info.max_num_seqs)),
                         fmt::format("waiting p99 {}", grouped(s.waiting.p99, 0)), kv,
                         fmt::format("preemptions {}", grouped(s.preemptions))});
  out += memory_row(s.kv_memory, style);
  double decode = 0, prefill = 0, idle = 0;
  for (const auto& g : s.gpu) decode += g.decode_s, prefill += g.prefill_s, idle += g.idle_s;
  const double total = decode + prefill + idle;
  if (total > 0) {
    out += style.row("GPU time", {fmt::format("decode {}", percent(decode / total)),
                                  fmt::format("prefill {}", percent(prefill / total)),
                                  fmt::format("idle {}", percent(idle / total))});
  }
  if (s.cached_tokens > 0) {
    std::vector<std::string> parts{percent(s.prefix_hit_rate()) + " of prompt tokens",
                                   grouped(s.cached_tokens) + " tokens not computed again",
                                   percent(s.request_hit_rate()) + " of requests hit"};
    if (s.later_turns.requests > 0)
      parts.push_back(percent(s.later_turns.hit_rate()) + " of later turns' prompt tokens");
    if (s.evicted_blocks > 0) parts.push_back(grouped(s.evicted_blocks) + " blocks evicted");
    out += style.row("prefix cache", parts);
  }
  return out;
}

std::string latency_part(Metric metric, double mean_ms, double p99_ms) {
  std::string out = fmt::format("{} {}", label(metric), duration_text(mean_ms / 1e3));
  if (!std::isnan(p99_ms)) out += fmt::format(" (p99 {})", duration_text(p99_ms / 1e3));
  return out;
}

std::string group_row(const std::string& label, const GroupStats& g, const Style& style) {
  std::vector<std::string> parts{grouped(g.completed) + " served"};
  if (g.failed > 0) parts.push_back(grouped(g.failed) + " failed");
  if (!std::isnan(g.mean_ttft_ms)) parts.push_back(latency_part(Metric::ttft, g.mean_ttft_ms, g.p99_ttft_ms));
  if (!std::isnan(g.mean_tpot_ms)) parts.push_back(latency_part(Metric::tpot, g.mean_tpot_ms, g.p99_tpot_ms));
  if (!std::isnan(g.mean_slowdown)) parts.push_back(fmt::format("slowdown {:.2f}", g.mean_slowdown));
  if (g.attainment) parts.push_back("within SLO " + percent(*g.attainment));
  return style.row(label, parts);
}

/// Priority classes, and clients where they were not served alike.
std::string fairness_rows(const Fairness& f, const Style& style) {
  constexpr std::size_t kMostClasses = 8;
  std::string out;
  for (std::size_t i = 0; i < std::min(kMostClasses, f.classes.size()); ++i)
    out += group_row(fmt::format("priority {}", f.classes[i].id), f.classes[i], style);
  if (f.clients == 0) return out;
  std::vector<std::string> parts{grouped(f.clients)};
  if (f.jain_tokens) parts.push_back(fmt::format("Jain's index of tokens {:.3f}", *f.jain_tokens));
  if (f.jain_slowdown) parts.push_back(fmt::format("of slowdowns {:.3f}", *f.jain_slowdown));
  out += style.row("clients", parts);
  if (f.jain_slowdown.value_or(1) > 0.99) return out;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, f.worst_clients.size()); ++i)
    out += group_row(fmt::format("client {}", f.worst_clients[i].id), f.worst_clients[i], style);
  return out;
}

std::string confidence_row(const Summary& s, const Style& style) {
  if (!s.confidence) return {};
  const auto& c = *s.confidence;
  std::string kernels;
  for (const char* p : {"measured", "interpolated", "extrapolated", "analytic"}) {
    const auto it = c.by_provenance.find(p);
    if (it == c.by_provenance.end() || it->second < 0.0005) continue;
    kernels += fmt::format("{}{} {}", kernels.empty() ? "kernels: " : ", ", percent(it->second), p);
  }
  const auto half_width = [&](Metric m) {
    const auto& stats = s[m];
    return stats.mean_interval && stats.mean > 0 ? stats.mean_interval->high / stats.mean - 1 : 0;
  };
  return style.row("confidence", {kernels, fmt::format("expected TTFT {0}{1}, TPOT {0}{2} (at {3})",
                                                       style.plus_minus(), percent(half_width(Metric::ttft)),
                                                       percent(half_width(Metric::tpot)), percent(c.level))});
}

std::string throughput_rows(const Summary& s, const Style& style) {
  std::string out = style.row(
      "throughput", {brief(s.request_throughput) + " req/s", brief(s.output_throughput) + " out tok/s",
                     brief(s.total_token_throughput) + " total tok/s",
                     fmt::format("peak {} out tok/s in 1 s", brief(s.max_output_tokens_per_s))});
  out += style.row("TTFT is", {fmt::format("front end {}", duration_text(s.front_end_ms / 1e3)),
                               fmt::format("queue {}", duration_text(s.queue_ms / 1e3)),
                               fmt::format("prefill {}", duration_text(s.prefill_ms / 1e3))});
  return out;
}

}  // namespace

RenderOptions render_options_for(int fd) {
  RenderOptions out;
  const bool terminal = ::isatty(fd) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  out.color = terminal && (!no_color || !*no_color) && (!term || std::strcmp(term, "dumb") != 0);
  winsize size{};
  if (terminal && ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) out.width = size.ws_col;
  if (const char* columns = std::getenv("COLUMNS")) {
    if (const int n = std::atoi(columns); n > 0) out.width = n;
  }
  for (const char* variable : {"LC_ALL", "LC_CTYPE", "LANG"}) {  // the first that is set decides
    const char* value = std::getenv(variable);
    if (!value || !*value) continue;
    const std::string locale = value;
    out.ascii = locale == "C" || locale == "POSIX";
    break;
  }
  return out;
}

Verdict judge(const Summary& s, const RenderOptions& options) {
  const Style style(options);
  const std::string what = s.info.workload.empty() ? "the workload" : s.info.workload;
  const std::string where = hardware(s, style), how = circumstances(s, options);
  if (s.completed == 0) {
    return {"FAIL", fmt::format("{} completed no request of {} ({} failed, {} unfinished)", where, what,
                                grouped(s.failed), grouped(s.unfinished))};
  }
  if (s.stability.unstable) {
    return {"UNSTABLE",
            fmt::format("{} cannot keep up with {}: {:.1f} req/s arrive per replica, {:.1f} are served",
                        where, what, s.stability.arrival_rps_per_replica, s.stability.served_rps_per_replica),
            how};
  }
  if (!s.slo_met()) return {"FAIL", fmt::format("{} misses the SLO on {}", where, what), how};
  return {s.slo.empty() ? "" : "PASS", fmt::format("{} serves {}", where, what), how};
}

std::string render_verdict(const Summary& summary, const RenderOptions& options) {
  const Style style(options);
  const Verdict v = judge(summary, options);
  return v.how.empty() ? fmt::format(" {}\n", line_of(v, style))
                       : fmt::format(" {} ({})\n", line_of(v, style), v.how);
}

std::string render_verdict_and_table(const Summary& s, const RenderOptions& options) {
  const Style style(options);
  std::string out = verdict_lines(s, options, style) + slo_line(s, options, style);
  if (s.interrupted) {
    out +=
        style.paragraph(fmt::format("{}: these are the {} requests completed by then; {} were unfinished",
                                    style.yellow("interrupted"), grouped(s.completed), grouped(s.unfinished)),
                        8);
  }
  if (s.completed > 0) {
    out += latency_table(s, style) + throughput_rows(s, style);
    out += fairness_rows(s.fairness, style) + load_rows(s, style);
    if (s.usd_per_million_output_tokens) {
      out +=
          style.row("cost", {fmt::format("${:.3g} per 1M output tokens", *s.usd_per_million_output_tokens)});
    }
    out += confidence_row(s, style);
  }
  for (const auto& w : s.warnings) {
    out += style.paragraph(fmt::format("{} {}", style.yellow("warning:"), w), 10);
  }
  return out;
}

}  // namespace orrery
