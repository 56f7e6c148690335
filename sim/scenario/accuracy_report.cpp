#include "scenario/accuracy_report.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "scenario/accuracy_ranking.hpp"
#include "scenario/engine_profile.hpp"

namespace orrery {

ServerErrors errors_of(const std::vector<const ServerRow*>& rows, ServerMetric metric) {
  ServerErrors out;
  std::vector<double> errors, sizes;
  std::int64_t inside = 0;
  for (const ServerRow* row : rows) {
    const auto error = row->error(metric);
    if (!error) continue;
    errors.push_back(*error);
    sizes.push_back(std::abs(*error));
    const auto& c = (*row)[metric];
    if (!c.interval) continue;
    ++out.with_interval;
    if (*c.measured >= c.interval->low && *c.measured <= c.interval->high) ++inside;
  }
  out.rows = static_cast<std::int64_t>(errors.size());
  if (errors.empty()) return out;
  std::sort(errors.begin(), errors.end());
  std::sort(sizes.begin(), sizes.end());
  out.bias = quantile_sorted(errors, 0.5);
  out.median_abs = quantile_sorted(sizes, 0.5);
  out.p90_abs = quantile_sorted(sizes, 0.9);
  if (out.with_interval > 0)
    out.covered = static_cast<double>(inside) / static_cast<double>(out.with_interval);
  return out;
}

OrderedJson to_json(const std::vector<ServerRow>& rows) {
  OrderedJson out = OrderedJson::array();
  for (const auto& row : rows) {
    OrderedJson json{{"set", row.set},      {"run", row.run},       {"hardware", row.hardware},
                     {"model", row.model},  {"engine", row.engine}, {"tp", row.tp},
                     {"isl", row.isl},      {"osl", row.osl},       {"load", row.load},
                     {"fitted", row.fitted}};
    if (!row.skipped.empty()) json["skipped"] = row.skipped;
    if (!row.doubt.empty()) json["doubt"] = row.doubt;
    for (int m = 0; m < kServerMetricCount; ++m) {
      const auto metric = static_cast<ServerMetric>(m);
      const auto& c = row[metric];
      const auto error = row.error(metric);
      if (!error) continue;
      OrderedJson one{{"predicted", *c.predicted}, {"error", *error}};
      if (c.interval) one["interval"] = {c.interval->low, c.interval->high};
      json[std::string(name(metric))] = std::move(one);
    }
    out.push_back(std::move(json));
  }
  return out;
}

namespace {

using Rows = std::vector<const ServerRow*>;
using M = ServerMetric;

template <class Keep>
Rows pick(const Rows& rows, Keep keep) {
  Rows out;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(out),
               [&](const ServerRow* r) { return keep(*r); });
  return out;
}

/// "12 | 3.1 | 8.0 | -2.0", or dashes.
std::string cells(const ServerErrors& e) {
  if (e.rows == 0) return "- | - | - | -";
  return fmt::format("{} | {:.1f} | {:.1f} | {:+.1f}", e.rows, 100 * e.median_abs, 100 * e.p90_abs,
                     100 * e.bias);
}

/// "3.1 / 8.0 (-2.0)", or a dash.
std::string short_cell(const ServerErrors& e) {
  if (e.rows == 0) return "-";
  return fmt::format("{:.1f} / {:.1f} ({:+.1f})", 100 * e.median_abs, 100 * e.p90_abs, 100 * e.bias);
}

struct Aim {
  M metric;
  double median, p90;  ///< percent; 0 = none set
};
constexpr Aim kAims[] = {{M::tpot, 6, 12},    {M::throughput, 6, 12}, {M::ttft, 12, 22}, {M::e2e, 0, 0},
                         {M::ttft_p90, 0, 0}, {M::ttft_p99, 0, 0},    {M::e2e_p99, 0, 0}};

std::string verdict(const Aim& aim, const ServerErrors& e) {
  if (aim.median == 0) return "";
  if (e.rows == 0) return fmt::format("{} / {}", aim.median, aim.p90);
  const bool met = 100 * e.median_abs <= aim.median && 100 * e.p90_abs <= aim.p90;
  return fmt::format("{} / {} {}", aim.median, aim.p90, met ? "met" : "**missed**");
}

std::string in_short(const Rows& held_out, const Rows& fitted) {
  std::string out =
      "## In short\n\n"
      "| metric | aim: median / p90 % | held out: n | median % | p90 % | bias % | fitted: n | median % | p90 "
      "% | "
      "bias % |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
  for (const Aim& aim : kAims) {
    const auto e = errors_of(held_out, aim.metric);
    out += fmt::format("| {} | {} | {} | {} |\n", label(aim.metric), verdict(aim, e), cells(e),
                       cells(errors_of(fitted, aim.metric)));
  }
  return out + "\n";
}

std::string short_model(const std::string& model) {
  return model.substr(model.find_last_of('/') + 1);
}

/// Rows in order of appearance of a key.
template <class Key>
std::vector<std::pair<std::string, Rows>> grouped(const Rows& rows, Key key) {
  std::vector<std::pair<std::string, Rows>> out;
  for (const ServerRow* row : rows) {
    const std::string k = key(*row);
    auto it = std::find_if(out.begin(), out.end(), [&](const auto& g) { return g.first == k; });
    if (it == out.end()) it = out.insert(out.end(), {k, {}});
    it->second.push_back(row);
  }
  return out;
}

std::string by_server(const Rows& rows) {
  std::string out =
      "## By server\n\nMedian / p90 of the error, and its median with its sign, in percent.\n\n"
      "| set | hardware | model | precision | tp | engine | | n | TPOT | TTFT | E2E | throughput |\n"
      "|---|---|---|---|---:|---|---|---:|---|---|---|---|\n";
  const auto key = [](const ServerRow& r) {
    return fmt::format("{} | {} | {} | {} | {} | {} | {}", r.set, r.hardware, short_model(r.model),
                       r.precision, r.tp, r.engine,
                       r.fitted          ? "fitted"
                       : r.doubt.empty() ? "held out"
                                         : "doubtful");
  };
  for (const auto& [k, group] : grouped(rows, key)) {
    const auto cell = [&, &g = group](M m) { return short_cell(errors_of(g, m)); };
    out += fmt::format("| {} | {} | {} | {} | {} | {} |\n", k, group.size(), cell(M::tpot), cell(M::ttft),
                       cell(M::e2e), cell(M::throughput));
  }
  std::set<std::string> doubts;
  for (const ServerRow* r : rows) {
    if (!r->doubt.empty()) doubts.insert(r->doubt);
  }
  for (const auto& doubt : doubts) out += "\nDoubtful, and left out of every other table: " + doubt + ".\n";
  return out + "\n";
}

std::string load_class(const ServerRow& r) {
  if (r.load == "all at once") return "everything queued";
  if (r.load.ends_with("req/s")) return "open loop";
  return r.load_value <= 8     ? "1-8 users"
         : r.load_value <= 32  ? "9-32 users"
         : r.load_value <= 128 ? "33-128 users"
                               : "over 128 users";
}

std::string length_class(const ServerRow& r) {
  if (r.isl >= 4 * r.osl) return "prompt at least 4 answers long";
  return r.osl >= 2 * r.isl ? "answer at least 2 prompts long" : "between";
}

std::string bias(const Rows& held_out) {
  std::string out =
      "## Where the bias is\n\nHeld-out rows. Below 0, the prediction is too small: for a time, too fast.\n\n"
      "| by | | TPOT: n | median % | p90 % | bias % | TTFT: n | median % | p90 % | bias % | throughput: n | "
      "median % | p90 % | bias % |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
  const auto section = [&](const char* title, auto key) {
    auto groups = grouped(held_out, key);
    std::sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [k, rows] : groups) {
      out += fmt::format("| {} | {} | {} | {} | {} |\n", title, k, cells(errors_of(rows, M::tpot)),
                         cells(errors_of(rows, M::ttft)), cells(errors_of(rows, M::throughput)));
    }
  };
  section("load", load_class);
  section("tensor parallel", [](const ServerRow& r) { return fmt::format("tp {}", r.tp); });
  section("lengths", length_class);
  section("engine", [](const ServerRow& r) { return r.engine; });
  return out + "\n";
}

std::string coverage(const Rows& held_out) {
  std::string out =
      "## Do the error bars hold?\n\nShare of held-out measurements inside the stated 90 % interval. "
      "Intervals are\n"
      "made of each kernel class's held-out error and of the engine's `log_sigma`.\n\n"
      "| engine | TPOT: n | inside % | TTFT: n | inside % | throughput: n | inside % | TTFT p99: n | inside "
      "% |\n"
      "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
  const auto line = [&](const std::string& title, const Rows& rows) {
    out += "| " + title;
    for (const M m : {M::tpot, M::ttft, M::throughput, M::ttft_p99}) {
      const auto e = errors_of(rows, m);
      out +=
          e.with_interval == 0 ? " | - | -" : fmt::format(" | {} | {:.0f}", e.with_interval, 100 * e.covered);
    }
    out += " |\n";
  };
  for (const auto& [engine, rows] : grouped(held_out, [](const ServerRow& r) { return r.engine; })) {
    line(engine, rows);
  }
  line("all", held_out);
  return out + "\n";
}

std::string fitted_values(const Rows& rows) {
  std::set<std::string> engines;
  for (const ServerRow* r : rows) engines.insert(r->engine);
  std::string out =
      "## What was fitted\n\nOne set of overheads per engine version, frozen before the rest was predicted. "
      "Each "
      "figure's source stands in\n`calibration/engines`.\n\n| engine | fitted on | values |\n|---|---|---|\n";
  for (const auto& name : engines) {
    const EngineProfile p = load_engine(name);
    std::string values;
    for (const auto& f : p.figures) {
      if (f.source.rfind("fitted on", 0) != 0 || f.key.rfind("memory.", 0) == 0) continue;
      values +=
          fmt::format("{}{} {}", values.empty() ? "" : ", ", f.key.substr(f.key.find('.') + 1), f.value);
    }
    out += fmt::format("| {} | {} | {} |\n", name, fmt::join(p.fitted_on, "<br>"), values);
  }
  return out + "\n";
}

std::string row_tables(const std::vector<ServerRow>& rows) {
  std::string out =
      "## Every row\n\nMeasured values stay with their sources; errors are rounded to whole percents.\n\n";
  for (const auto& set : server_sets()) {
    if (!set.rows_may_be_shown) {
      out +=
          set.name + ": no licence is stated at the source, so that single measurements are not shown.\n\n";
      continue;
    }
    out += "<details><summary>" + set.name + ": " + set.title +
           "</summary>\n\n| server | load | metric | predicted | error % | |\n"
           "|---|---|---|---:|---:|---|\n";
    for (const auto& r : rows) {
      for (const M m : {M::tpot, M::ttft, M::throughput}) {
        const auto error = r.error(m);
        if (r.set != set.name || !error) continue;
        out += fmt::format("| {} | {} | {} | {:.5g} | {:+.0f} | {} |\n", r.run, r.load, label(m),
                           *r[m].predicted, 100 * *error,
                           r.fitted          ? "fitted"
                           : r.doubt.empty() ? ""
                                             : "doubtful");
      }
    }
    out += "\n</details>\n\n";
  }
  return out;
}

std::string skipped_rows(const Rows& rows) {
  std::string out = "## What was not predicted\n\n| set | rows | why |\n|---|---:|---|\n";
  const auto key = [](const ServerRow& r) { return r.set + "\t" + r.skipped; };
  for (const auto& [k, group] : grouped(rows, key)) {
    out += fmt::format("| {} | {} | {} |\n", group.front()->set, group.size(), group.front()->skipped);
  }
  return out + "\n";
}

constexpr M kPlotted[] = {M::tpot, M::ttft, M::throughput};

}  // namespace

std::string accuracy_page(const std::vector<ServerRow>& all, const std::string& why,
                          const std::string& more) {
  Rows rows, skipped;
  for (const auto& row : all) (row.skipped.empty() ? rows : skipped).push_back(&row);
  const Rows held_out = pick(rows, [](const ServerRow& r) { return !r.fitted && r.doubt.empty(); });
  const Rows fitted = pick(rows, [](const ServerRow& r) { return r.fitted; });
  std::string out =
      "# How close predictions come to measured servers\n\n"
      "Generated by `orrery accuracy --out docs` from published measurements (`ORRERY_REFERENCE_DATA`); do "
      "not "
      "edit.\nErrors are |predicted / measured - 1| in percent; bias is the median with its sign. *Fitted* "
      "rows "
      "are those the\nengine's overheads were fitted on; all others are *held out*, split by run, never by "
      "row. "
      "How well single kernels\nare predicted is another page: "
      "[accuracy-kernels.md](accuracy-kernels.md).\n\n";
  out += in_short(held_out, fitted);
  if (!why.empty()) out += why + "\n";
  for (const M m : kPlotted) {
    const std::string base(name(m));
    out += fmt::format(
        "![{0}: predicted against measured](accuracy/{1}.svg) ![{0}: error by load]"
        "(accuracy/{1}-load.svg)\n\n",
        label(m), base);
  }
  out += ranking_section(all);
  out += by_server(rows) + bias(held_out) + coverage(held_out) + fitted_values(rows);
  out += more;
  if (!skipped.empty()) out += skipped_rows(skipped);
  return out + row_tables(all);
}

namespace {

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) throw ConfigError("cannot write " + path.string());
}

}  // namespace

void write_accuracy_report(const std::vector<ServerRow>& rows, const std::string& folder,
                           const std::string& more) {
  const auto plots = std::filesystem::path(folder) / "accuracy";
  std::error_code failed;
  std::filesystem::create_directories(plots, failed);
  if (failed) throw ConfigError("cannot create " + plots.string() + ": " + failed.message());
  for (const M m : kPlotted) {
    const std::string base(name(m));
    write(plots / (base + ".svg"), scatter_plot(rows, m));
    write(plots / (base + "-load.svg"), load_plot(rows, m));
  }
  std::ifstream in(plots / "why.md", std::ios::binary);
  const std::string why{std::istreambuf_iterator<char>(in), {}};
  write(std::filesystem::path(folder) / "accuracy.md", accuracy_page(rows, why, more));
}

}  // namespace orrery
