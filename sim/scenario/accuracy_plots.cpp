#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "scenario/accuracy_report.hpp"

namespace orrery {

namespace {

constexpr double kWidth = 420, kHeight = 360, kLeft = 56, kRight = 12, kTop = 28, kBottom = 44;
constexpr const char* kColours[] = {"#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377"};

struct Point {
  double measured = 0, predicted = 0, load = 0;
  std::string group;
  bool fitted = false;
};

/// Rows with the metric; sets whose rows may not be shown as geometric means per server.
std::vector<Point> points_of(const std::vector<ServerRow>& rows, ServerMetric metric) {
  struct Sum {
    double n = 0, measured = 0, predicted = 0, load = 0;
  };
  std::vector<Point> out;
  std::map<std::tuple<std::string, std::string, std::string, int, bool>, Sum> sums;
  for (const auto& row : rows) {
    if (!row.error(metric) || !row.doubt.empty()) continue;
    const auto set = std::find_if(server_sets().begin(), server_sets().end(),
                                  [&](const ServerSet& s) { return s.name == row.set; });
    const double measured = *row[metric].measured, predicted = *row[metric].predicted;
    if (set == server_sets().end() || set->rows_may_be_shown) {
      out.push_back({measured, predicted, row.load_value, row.engine, row.fitted});
      continue;
    }
    Sum& sum = sums[{row.engine, row.hardware, row.model, row.tp, row.fitted}];
    sum.n += 1, sum.measured += std::log(measured), sum.predicted += std::log(predicted);
    sum.load += row.load_value;
  }
  for (const auto& [key, s] : sums) {
    out.push_back({std::exp(s.measured / s.n), std::exp(s.predicted / s.n), s.load / s.n, std::get<0>(key),
                   std::get<4>(key)});
  }
  return out;
}

/// One axis: a value to a position, linear or logarithmic.
struct Axis {
  double low = 0, high = 1, from = 0, to = 1;
  bool logarithmic = false;
  double at(double value) const {
    const double u =
        logarithmic ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
    return from + std::clamp(u, 0.0, 1.0) * (to - from);
  }
  std::vector<double> ticks() const {
    std::vector<double> out;
    if (!logarithmic) {
      for (int i = 0; i <= 6; ++i) out.push_back(low + (high - low) * i / 6);
      return out;
    }
    for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high; decade *= 10) {
      for (const double step : {1.0, 2.0, 5.0}) {
        if (decade * step >= low && decade * step <= high) out.push_back(decade * step);
      }
    }
    return out;
  }
};

std::string begin(const std::string& title, const std::string& x_title, const Axis& x,
                  const std::string& y_title, const Axis& y) {
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"11\" fill=\"#333\">\n<rect width=\"{0}\" height=\"{1}\" "
      "fill=\"#fff\"/>\n<text x=\"{2:.0f}\" y=\"17\" font-size=\"13\">{3}</text>\n",
      kWidth, kHeight, kLeft, title);
  for (const double t : x.ticks()) {
    svg += fmt::format(
        "<path d=\"M{0:.0f} {1:.0f}V{2:.0f}\" stroke=\"#e4e4e4\"/><text x=\"{0:.0f}\" y=\"{3:.0f}\" "
        "text-anchor=\"middle\">{4:g}</text>\n",
        x.at(t), y.from, y.to, y.from + 14, t);
  }
  for (const double t : y.ticks()) {
    svg += fmt::format(
        "<path d=\"M{0:.0f} {1:.0f}H{2:.0f}\" stroke=\"#e4e4e4\"/><text x=\"{3:.0f}\" y=\"{4:.0f}\" "
        "text-anchor=\"end\">{5:g}</text>\n",
        x.from, y.at(t), x.to, x.from - 4, y.at(t) + 4, t);
  }
  svg += fmt::format(
      "<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"middle\">{}</text>\n"
      "<text transform=\"translate(13 {:.0f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
      (x.from + x.to) / 2, kHeight - 12, x_title, (y.from + y.to) / 2, y_title);
  return svg;
}

/// The points, filled when held out, and a legend of their groups.
std::string marks(const std::vector<Point>& points, const std::vector<std::pair<double, double>>& places) {
  std::map<std::string, const char*> colour;
  for (const auto& p : points) colour.try_emplace(p.group, "");
  std::size_t next = 0;
  for (auto& [group, c] : colour) c = kColours[next++ % std::size(kColours)];
  std::string svg;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const char* c = colour[points[i].group];
    svg += fmt::format(
        "<circle cx=\"{:.0f}\" cy=\"{:.0f}\" r=\"2.6\" fill=\"{}\" stroke=\"{}\" opacity=\"0.8\"/>\n",
        places[i].first, places[i].second, points[i].fitted ? "#fff" : c, c);
  }
  double y = kTop + 12;
  for (const auto& [group, c] : colour) {
    svg += fmt::format(
        "<circle cx=\"{:.0f}\" cy=\"{:.0f}\" r=\"3\" fill=\"{}\"/><text x=\"{:.0f}\" "
        "y=\"{:.0f}\">{}</text>\n",
        kLeft + 10, y - 4, c, kLeft + 18, y, group);
    y += 14;
  }
  return svg + fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" fill=\"#777\">hollow: fitted</text>\n</svg>\n",
                           kLeft + 6, y);
}

const char* unit(ServerMetric m) {
  return m == ServerMetric::throughput ? "tok/s" : "ms";
}

}  // namespace

std::string scatter_plot(const std::vector<ServerRow>& rows, ServerMetric metric) {
  const auto points = points_of(rows, metric);
  double low = 1e300, high = 0;
  for (const auto& p : points) {
    low = std::min({low, p.measured, p.predicted});
    high = std::max({high, p.measured, p.predicted});
  }
  if (points.empty()) low = 1, high = 10;
  Axis x{low / 1.1, high * 1.1, kLeft, kWidth - kRight, true}, y = x;
  y.from = kHeight - kBottom, y.to = kTop;
  std::string svg =
      begin(fmt::format("{}, {}: the line is equality, dashes are 12 % off", label(metric), unit(metric)),
            "measured", x, "predicted", y);
  for (const double off : {1 / 1.12, 1.0, 1.12}) {
    svg += fmt::format("<path d=\"M{:.0f} {:.0f}L{:.0f} {:.0f}\" stroke=\"#999\"{}/>\n", x.at(x.low * 1.12),
                       y.at(x.low * 1.12 * off), x.at(x.high / 1.12), y.at(x.high / 1.12 * off),
                       off == 1 ? "" : " stroke-dasharray=\"4 4\"");
  }
  std::vector<std::pair<double, double>> places;
  for (const auto& p : points) places.emplace_back(x.at(p.measured), y.at(p.predicted));
  return svg + marks(points, places);
}

std::string load_plot(const std::vector<ServerRow>& rows, ServerMetric metric) {
  auto points = points_of(rows, metric);
  const bool queued = std::all_of(points.begin(), points.end(), [](const Point& p) { return p.load == 0; });
  double high = 1;
  for (auto& p : points) {
    if (queued) p.load = p.measured;
    high = std::max(high, p.load);
  }
  double low = high;
  for (const auto& p : points) low = std::min(low, p.load);
  const Axis x{std::max(0.5, low / 1.1), high * 1.2, kLeft, kWidth - kRight, true};
  const Axis y{-60, 60, kHeight - kBottom, kTop, false};
  std::string svg = begin(fmt::format("{}: error by load (clipped at 60 %)", label(metric)),
                          queued ? "measured tok/s, everything queued" : "users, or requests per second", x,
                          "predicted / measured - 1, %", y);
  svg += fmt::format("<path d=\"M{:.0f} {:.0f}H{:.0f}\" stroke=\"#999\"/>\n", x.from, y.at(0), x.to);
  std::vector<std::pair<double, double>> places;
  for (const auto& p : points) places.emplace_back(x.at(p.load), y.at(100 * (p.predicted / p.measured - 1)));
  return svg + marks(points, places);
}

}  // namespace orrery
