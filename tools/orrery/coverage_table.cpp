#include "coverage_table.hpp"

#include <fmt/format.h>

#include "report/text.hpp"

namespace orrery {

namespace {

std::string share_or_dash(double part, double whole) {
  return part > 0 ? percent(part / whole) : "-";
}

/// One line of the table of classes; `error` is a text, for a sum has none of its own.
std::string line(const std::string& what, double share, const std::array<double, kProvenanceCount>& seconds,
                 const std::string& error) {
  double all = 0;
  for (const double s : seconds) all += s;
  const auto of = [&](Provenance p) { return share_or_dash(seconds[static_cast<std::size_t>(p)], all); };
  std::string out = fmt::format(" {:<22}{:>8}{:>11}{:>15}{:>15}{:>11}{:>9}", what, percent(share),
                                of(Provenance::measured), of(Provenance::interpolated),
                                of(Provenance::extrapolated), of(Provenance::analytic), error);
  out.resize(out.find_last_not_of(' ') + 1);
  return out;
}

/// "m 1..8,192"; one number where there is no range.
std::string range(std::string_view what, double low, double high) {
  const std::string from = grouped(low, 0), to = grouped(high, 0);
  return from == to ? fmt::format("{} {}", what, from) : fmt::format("{} {}..{}", what, from, to);
}

std::string ranges(const ClassCoverage& k, const Style& style) {
  std::string title = fmt::format(" {} (", k.cls->name);
  for (std::size_t i = 0; i < k.formats.size(); ++i) title += (i > 0 ? ", " : "") + k.formats[i];
  std::string out = style.bold(title + ")") + "\n";
  std::vector<std::string> parts;
  for (const auto& dim : k.needed) parts.push_back(range(dim.name, dim.low, dim.high));
  out += style.row("needed", parts);
  for (const CalibratedRange& r : k.ranges) {
    const auto blank = std::min(r.rows.find(' '), r.rows.size());
    parts.clear();
    if (blank < r.rows.size()) parts.push_back(r.rows.substr(blank + 1));
    for (const auto& q : r.quantities) parts.push_back(range(q.name, q.low, q.high));
    out += style.row(r.rows.substr(0, blank), parts);
  }
  if (k.ranges.empty()) out += style.row("rows", {"none"});
  return out;
}

std::string dims(const ShapeCell& s) {
  std::string out;
  for (std::size_t d = 0; d < s.shape.size() && !s.cls->dims[d].empty(); ++d)
    out += fmt::format("{}{} {}", d > 0 ? ", " : "", s.cls->dims[d], grouped(s.shape[d], 0));
  return out;
}

}  // namespace

std::string render(const Coverage& c, const RenderOptions& options) {
  const Style style(options);
  std::string out = style.dim(fmt::format(" {:<22}{:>8}{:>11}{:>15}{:>15}{:>11}{:>9}", "kernel class", "time",
                                          "measured", "interpolated", "extrapolated", "analytic", "error")) +
                    "\n";
  for (const ClassCoverage& k : c.classes)
    out += line(std::string(k.cls->name), c.share(k.seconds), k.by_provenance,
                std::string(style.plus_minus()) + percent(k.error)) +
           "\n";
  out += style.bold(line("all kernels", 1, c.by_provenance, "")) + "\n\n" +
         style.paragraph(
             "Shapes needed (1st to 99th percentile by time) and the rows behind their "
             "prices:",
             1);
  for (const ClassCoverage& k : c.classes) out += ranges(k, style);
  return out;
}

std::string render_shapes(const Coverage& c, const std::vector<ShapeCell>& shapes,
                          const RenderOptions& options) {
  const Style style(options);
  if (shapes.empty()) return " Every shape was measured: there is nothing to add.\n";
  double share = 0;
  for (const ShapeCell& s : shapes) share += c.share(s.seconds);
  std::string out = style.paragraph(
      fmt::format("Most worth measuring ({} of the time; share of time x error decides):", percent(share)),
      1);
  for (const ShapeCell& s : shapes) {
    const std::string kind = s.weight_dtype == s.dtype
                                 ? std::string(name(s.dtype))
                                 : fmt::format("{} x {}", name(s.dtype), name(s.weight_dtype));
    const std::string head = fmt::format("{:>7}  {:<13} {} {}: ", percent(c.share(s.seconds)),
                                         name(s.provenance), s.cls->name, kind);
    out += style.paragraph(head + dims(s), 10);
  }
  return out;
}

}  // namespace orrery
