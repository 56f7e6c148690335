#include "plan_table.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "report/text.hpp"

namespace orrery {
namespace {

std::string money(const std::optional<double>& usd) {
  return usd ? fmt::format("{:.2f}", *usd) : "-";
}

std::string latency(const Plan& p, Metric m) {
  return p.at && (*p.at)[m].samples > 0 ? brief((*p.at)[m].at(99)) : "-";
}

std::string state(const Plan& p) {
  if (p.unit_rps == 0) return "never within the limits: " + p.limit;
  return p.meets ? p.limit : "not met: " + p.limit;
}

/// Right-aligned but for the first and last columns.
std::string table(const std::vector<std::vector<std::string>>& cells, const Style& style) {
  std::vector<std::size_t> widths(cells.front().size(), 0);
  for (const auto& row : cells) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  std::string out;
  for (std::size_t r = 0; r < cells.size(); ++r) {
    std::string line = " ";
    for (std::size_t i = 0; i < cells[r].size(); ++i) {
      const std::string pad(widths[i] - display_width(cells[r][i]), ' ');
      const bool left = i == 1 || i + 1 == cells[r].size();
      line += left ? cells[r][i] + (i == 1 ? pad : "") : pad + cells[r][i];
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += (r == 0 ? style.dim(line) : line) + "\n";
  }
  return out;
}

std::string units_of(const Plan& p) {
  if (p.candidate.prefill > 0)
    return fmt::format("{}P+{}D", p.units * p.candidate.prefill, p.units * p.candidate.decode);
  return std::to_string(p.units);
}

/// How sure the best plan is, and how to start it.
std::string after(const Plan& best, const Style& style) {
  std::string out;
  if (best.at && best.at->confidence)
    out += style.row("confidence", {fmt::format("step times {}{:.0f} % ({:.0f} % sure)", style.plus_minus(),
                                                100 * best.at->confidence->step_time_error,
                                                100 * best.at->confidence->level)});
  if (best.at) {
    for (const std::string& warning : best.at->warnings) out += style.row("warning", {warning});
  }
  const std::string command = deploy_command(best.candidate);
  const auto line = command.find('\n');
  out += style.row("deploy", {command.substr(0, line)});
  if (line != std::string::npos) out += style.row("", {command.substr(line + 1)});
  return out;
}

std::string verdict(const PlanAnswer& a, const Style& style) {
  const PlanQuestion& q = a.question;
  if (!a.infeasible.empty()) return style.red("INFEASIBLE") + "  " + a.infeasible + "\n";
  const Plan& best = a.plans.front();
  const bool priced = best.usd_per_hour.has_value();
  std::string out = style.green(priced ? "CHEAPEST" : "FEWEST GPUS") + "  ";
  out += fmt::format("{} {} ({}) = {} {}", best.units, style.times(), describe(best.candidate), best.gpus(),
                     best.gpus() == 1 ? "GPU" : "GPUs");
  if (priced) out += fmt::format(", ${:.2f}/h", *best.usd_per_hour);
  if (best.usd_per_million_output_tokens)
    out += fmt::format(", ${:.3g} per 1M output tokens", *best.usd_per_million_output_tokens);
  const double most = best.unit_rps * best.units;
  if (q.target_rps > 0) {
    out += fmt::format("; {:.0f} % spare ({:g} of {:.3g} req/s)",
                       100 * std::max(0.0, most / q.target_rps - 1), q.target_rps, most);
  } else {
    out += fmt::format("; carries {:.3g} req/s", most);
  }
  return out + "\n";
}

}  // namespace

std::string render_plan(const PlanAnswer& a, std::size_t rows, const RenderOptions& options) {
  const Style style(options);
  std::string out = verdict(a, style);
  std::vector<std::vector<std::string>> cells = {{"rank", "configuration", "replicas", "GPUs", "$/h",
                                                  "max req/s", "tok/s/GPU", "tok/s/user", "TTFT p99",
                                                  "TPOT p99", "what it hits first"}};
  const bool priced =
      std::any_of(a.plans.begin(), a.plans.end(), [](const Plan& p) { return p.usd_per_hour.has_value(); });
  const std::size_t shown = std::min(rows, a.plans.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const Plan& p = a.plans[i];
    const bool any = p.unit_rps > 0;
    cells.push_back({p.meets ? std::to_string(i + 1) : (options.ascii ? "x" : "✗"), describe(p.candidate),
                     any ? units_of(p) : "-", any ? std::to_string(p.gpus()) : "-", money(p.usd_per_hour),
                     any ? brief(p.unit_rps * p.units) : "-",
                     any ? grouped(p.tokens_per_s_per_gpu(), 0) : "-",
                     any ? brief(p.tokens_per_s_per_user()) : "-", latency(p, Metric::ttft),
                     latency(p, Metric::tpot), state(p)});
  }
  if (!priced) {
    for (auto& row : cells) row.erase(row.begin() + 4);
  }
  if (shown > 0) out += "\n" + table(cells, style);
  std::vector<std::string> rest;
  if (a.plans.size() > shown)
    rest.push_back(fmt::format("{} more simulated (--top)", a.plans.size() - shown));
  if (a.not_simulated > 0)
    rest.push_back(fmt::format("{} looked worse by estimate and were not simulated", a.not_simulated));
  if (!a.refused.empty()) rest.push_back(fmt::format("{} cannot serve", a.refused.size()));
  out += "\n" + style.row(fmt::format("{} tried", a.configurations), rest);
  if (a.infeasible.empty()) out += after(a.plans.front(), style);
  return out;
}

}  // namespace orrery
