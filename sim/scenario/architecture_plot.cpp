#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "scenario/architecture_report.hpp"

namespace orrery {
namespace {

constexpr const char* kColours[] = {"#4477aa", "#ee6677", "#228833", "#aa3377", "#ccbb44", "#66ccee"};

/// The positive values of all curves, between powers of ten (y) and the contexts asked for (x).
struct Frame {
  double x_low = 1e300, x_high = 0, y_low = 1e300, y_high = 0;

  Frame(const std::vector<ArchitectureCurve>& curves, ArchitectureMetric metric) {
    for (const auto& curve : curves) {
      for (const auto& point : curve.points) {
        const double y = value_of(point, metric);
        if (y <= 0) continue;
        x_low = std::min(x_low, static_cast<double>(point.context));
        x_high = std::max(x_high, static_cast<double>(point.context));
        y_low = std::min(y_low, y), y_high = std::max(y_high, y);
      }
    }
    if (empty()) return;
    y_low = std::pow(10, std::floor(std::log10(y_low)));
    y_high = std::pow(10, std::ceil(std::log10(y_high) + 1e-9));
  }
  bool empty() const { return x_high <= 0; }
  double x(Tokens context) const {
    return x_high > x_low ? std::log(static_cast<double>(context) / x_low) / std::log(x_high / x_low) : 0.5;
  }
  double y(double value) const { return std::log(value / y_low) / std::log(y_high / y_low); }
};

std::string context_text(double tokens) {
  if (tokens >= 1 << 20) return fmt::format("{:g}M", tokens / (1 << 20));
  return tokens >= 1024 ? fmt::format("{:g}k", std::round(tokens / 102.4) / 10) : fmt::format("{:g}", tokens);
}

char letter(std::size_t curve) {
  return static_cast<char>('A' + curve % 26);
}

}  // namespace

std::string architecture_plot(const std::vector<ArchitectureCurve>& curves, ArchitectureMetric metric,
                              int width, int height) {
  const Frame frame(curves, metric);
  if (frame.empty()) return "";
  std::vector<std::string> rows(static_cast<std::size_t>(height),
                                std::string(static_cast<std::size_t>(width), ' '));
  for (std::size_t c = curves.size(); c-- > 0;) {  // the first curve is drawn over the others
    for (const auto& point : curves[c].points) {
      const double y = value_of(point, metric);
      if (y <= 0) continue;
      const auto column = static_cast<std::size_t>(std::lround(frame.x(point.context) * (width - 1)));
      const auto row = static_cast<std::size_t>(std::lround((1 - frame.y(y)) * (height - 1)));
      rows[row][column] = letter(c);
    }
  }
  std::string out = fmt::format(" {}\n", axis_of(metric).title);
  for (int i = 0; i < height; ++i) {
    const double value =
        frame.y_low * std::pow(frame.y_high / frame.y_low, 1 - static_cast<double>(i) / (height - 1));
    const bool labelled = i == 0 || i == height - 1 || i == (height - 1) / 2;
    out += fmt::format("{:>10} |{}\n", labelled ? fmt::format("{:.3g}", value) : "",
                       rows[static_cast<std::size_t>(i)]);
  }
  out += fmt::format("{:>10} +{}\n", "", std::string(static_cast<std::size_t>(width), '-'));
  const std::string first = context_text(frame.x_low), last = context_text(frame.x_high);
  out += fmt::format("{:>11}{}{:>{}}\n", "", first, last, width + 1 - static_cast<int>(first.size()));
  for (std::size_t c = 0; c < curves.size(); ++c)
    out += fmt::format("{:>12} {}\n", letter(c), curves[c].model);
  return out;
}

std::string architecture_svg(const std::vector<ArchitectureCurve>& curves, ArchitectureMetric metric) {
  constexpr double kWidth = 640, kHeight = 340, kLeft = 62, kRight = 132, kTop = 28, kBottom = 44;
  const Frame frame(curves, metric);
  const auto px = [&](Tokens n) { return kLeft + frame.x(n) * (kWidth - kLeft - kRight); };
  const auto py = [&](double v) { return kHeight - kBottom - frame.y(v) * (kHeight - kTop - kBottom); };
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n"
      "<text x=\"{2}\" y=\"16\" font-size=\"12\">{3}, by context length</text>\n",
      kWidth, kHeight, kLeft, axis_of(metric).title);
  if (frame.empty()) return svg + "</svg>\n";
  for (double v = frame.y_low; v <= frame.y_high * 1.001; v *= 10) {
    svg += fmt::format(
        "<path d=\"M{0:.0f} {1:.1f}H{2:.0f}\" stroke=\"#e4e4e4\"/><text x=\"{3:.0f}\" y=\"{4:.1f}\" "
        "text-anchor=\"end\">{5:g}</text>\n",
        kLeft, py(v), kWidth - kRight, kLeft - 4, py(v) + 4, v);
  }
  for (const auto& point : curves.front().points) {
    svg +=
        fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"middle\">{}</text>\n", px(point.context),
                    kHeight - kBottom + 16, context_text(static_cast<double>(point.context)));
  }
  for (std::size_t c = 0; c < curves.size(); ++c) {
    const char* colour = kColours[c % std::size(kColours)];
    std::string path;
    for (const auto& point : curves[c].points) {
      const double v = value_of(point, metric);
      if (v > 0) path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", px(point.context), py(v));
    }
    svg += fmt::format(
        "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"/><text x=\"{:.0f}\" y=\"{:.0f}\" "
        "fill=\"{}\">{}</text>\n",
        path, colour, kWidth - kRight + 10, kTop + 10 + 16 * static_cast<double>(c), colour, curves[c].model);
  }
  return svg + "</svg>\n";
}

}  // namespace orrery
