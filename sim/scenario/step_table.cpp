#include "scenario/step_table.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "cost/roofline.hpp"
#include "report/text.hpp"

namespace orrery {

std::string_view name(Bound bound) {
  constexpr std::string_view names[] = {"memory", "compute", "comm", "launch", "link", "host"};
  return names[static_cast<int>(bound)];
}

namespace {

/// Longer kernels have other reasons to be far from the speed of light than their launch.
constexpr double kLaunchBound = 5e-6;

Bound bound_of(const KernelCall& call, double seconds, double light, const DeviceProfile& device) {
  if (call.lane == Lane::comm) return Bound::comm;
  if (call.lane == Lane::copy) return Bound::link;
  if (call.lane == Lane::cpu) return Bound::host;
  if (light < seconds / 3 && seconds < kLaunchBound) return Bound::launch;
  const double memory = call.work.hbm_bytes() / device.memory_bandwidth_bytes_per_s;
  return light > memory * 1.0001 ? Bound::compute : Bound::memory;
}

bool same_kernel(const OperatorRow& row, const PricedCall& c) {
  return row.call.role == c.call.role && row.call.cls == c.call.cls && row.call.dims == c.call.dims;
}

Work times(Work w, double n) {
  for (double* part : {&w.tensor_flops, &w.vector_flops, &w.hbm_read_bytes, &w.hbm_write_bytes,
                       &w.weight_bytes, &w.host_bytes, &w.link_bytes}) {
    *part *= n;
  }
  return w;
}

/// "51.5 G": three digits and an SI prefix.
std::string si(double value) {
  constexpr const char* prefixes[] = {"", "k", "M", "G", "T", "P"};
  int p = 0;
  for (; value >= 999.5 && p < 5; ++p) value /= 1000;
  return fmt::format("{:.{}f} {}", value, value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2, prefixes[p]);
}

/// "32 x 6144 x 4096" for a matrix product, "32 sequences, 65,536 context" for others.
std::string shape(const KernelCall& call) {
  const auto& names = call.cls->dims;
  if (names[0] == "m" && names[1] == "n") {
    return fmt::format("{:.0f} x {:.0f} x {:.0f}", call.dims[0], call.dims[1], call.dims[2]);
  }
  // The first two dimensions say what this step does; the others are the model's and stand in --json.
  const auto part = [&](std::size_t i) {
    const std::string count = grouped(call.dims[i], 0);
    if (names[i] == "bytes_per_token") return count + " B each";
    if (names[i] == "new_tokens") return count + " new tokens";
    return fmt::format("{} {}", count,
                       names[i] == "bytes"  ? "B"
                       : names[i] == "seqs" ? "sequences"
                                            : names[i]);
  };
  return part(0) + ", " + part(1);
}

/// One line of the table, without trailing blanks.
std::string line(const std::array<std::string, 11>& c) {
  std::string out = fmt::format("{:<21}{:>4}  {:<33}{:>8}{:>8}{:>8}  {:<8}{:>10}{:>8}{:>8}  {}", c[0], c[1],
                                c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[10]);
  out.resize(out.find_last_not_of(' ') + 1);
  return out;
}

std::string microseconds(double seconds) {
  return grouped(seconds * 1e6, 1);
}

/// Device time by bound: "memory 81 %, launch 12 %, compute 7 %".
std::string bounds_text(const StepTable& t) {
  std::array<std::pair<double, Bound>, 6> time{};
  for (std::size_t i = 0; i < time.size(); ++i) time[i].second = static_cast<Bound>(i);
  for (const auto& row : t.rows) time[static_cast<std::size_t>(row.bound)].first += row.seconds;
  std::stable_sort(time.begin(), time.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string out;
  for (const auto& [seconds, bound] : time) {
    if (seconds < 0.005 * t.kernels_s) continue;
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", name(bound), percent(seconds / t.kernels_s));
  }
  return out;
}

std::string why(const StepTable& t, const DeviceProfile& device) {
  const double intensity = t.work.intensity();
  const bool below = intensity < t.ridge;
  std::string out = fmt::format(
      "{} FLOP per byte; {} turns from memory- to compute-bound at {} ({} TFLOP/s {} over {} TB/s): {}",
      brief(intensity), device.name, brief(t.ridge), brief(device.tensor_peak(t.ridge_dtype) * 1e-12),
      name(t.ridge_dtype), brief(device.memory_bandwidth_bytes_per_s * 1e-12),
      below ? "time goes with bytes" : "time goes with FLOPs");
  const double weights = t.work.weight_bytes / t.work.hbm_bytes();
  if (below && weights > 0.5) {
    return out +
           fmt::format(", and {} of the bytes are weights, read once however many sequences share the step.",
                       percent(weights));
  }
  if (below) return out + fmt::format(", of which {} are weights.", percent(weights));
  return out + ", so more tokens in the step take proportionally longer.";
}

}  // namespace

StepTable step_table(const StepExplanation& step, const DeviceProfile& device, const Topology& topology) {
  StepTable t;
  const KernelCostModelPtr light = make_speed_of_light(device, topology);
  for (const PricedCall& c : step.calls) {
    auto row = std::find_if(t.rows.begin(), t.rows.end(), [&](const auto& r) { return same_kernel(r, c); });
    if (row == t.rows.end())
      row = t.rows.insert(t.rows.end(), OperatorRow{c.call, 0, 0, 0, c.time.provenance, {}});
    const double light_seconds = light->price(c.call).time.value * c.call.repeat;
    row->count += c.call.repeat;
    row->seconds += c.total.value;
    row->light_seconds += light_seconds;
    t.work += times(c.call.work, c.call.repeat);
    t.kernels_s += c.total.value;
    t.light_s += light_seconds;
    if (c.call.weight_dtype != c.call.dtype || c.call.role == "gate_up_proj")
      t.ridge_dtype = c.call.work.tensor_dtype;
  }
  for (OperatorRow& row : t.rows)
    row.bound = bound_of(row.call, row.seconds / row.count, row.light_seconds / row.count, device);
  if (device.tensor_peak(t.ridge_dtype) <= 0) t.ridge_dtype = DType::bf16;
  t.ridge = device.tensor_peak(t.ridge_dtype) / device.memory_bandwidth_bytes_per_s;
  t.device_s = step.device.value, t.host_s = step.host.value, t.total_s = step.total.value;
  return t;
}

std::string render(const StepTable& t, const DeviceProfile& device, const RenderOptions& options) {
  const Style style(options);
  const auto share = [&](double seconds) { return percent(seconds / t.total_s); };
  std::string out = style.dim(line({"operator", "calls", "shape", "FLOP", "byte", "FLOP/B", "bound", "us",
                                    "share", "light", "time is"})) +
                    "\n";
  for (const OperatorRow& row : t.rows) {
    const Work work = times(row.call.work, row.count);
    const bool comm = row.call.lane == Lane::comm, copies = row.call.lane == Lane::copy;
    const bool computes = work.flops() > 0;
    const std::string text =
        line({std::string(row.call.role), fmt::format("{:.0f}", row.count), shape(row.call),
              computes ? si(work.flops()) : "-",
              si(comm     ? work.link_bytes
                 : copies ? work.host_bytes
                          : work.hbm_bytes()),
              comm || copies ? "link"
              : computes     ? brief(work.intensity())
                             : "-",
              std::string(name(row.bound)), microseconds(row.seconds), share(row.seconds),
              percent(row.light_seconds / row.seconds), std::string(name(row.provenance))});
    out += (row.seconds > 0.1 * t.total_s ? style.bold(text) : text) + "\n";
  }
  out += line({"kernels", "", "", si(t.work.flops()), si(t.work.hbm_bytes()), brief(t.work.intensity()), "",
               microseconds(t.kernels_s), share(t.kernels_s), percent(t.light_s / t.kernels_s), ""}) +
         "\n";
  const double between = t.device_s - t.kernels_s;
  if (between > 1e-7) {
    out += line({"between kernels", "", "", "", "", "", "", microseconds(between), share(between), "", ""}) +
           "\n";
  }
  out += line({"host, not hidden", "", "", "", "", "", "", microseconds(t.host_s), share(t.host_s), "", ""}) +
         "\n";
  out += style.bold(line({"step", "", "", "", "", "", "", microseconds(t.total_s), "", "", ""})) + "\n\n";
  return out + style.paragraph("Bound: " + bounds_text(t) + " of kernel time. " + why(t, device), 1);
}

Json to_json(const StepTable& t) {
  Json rows = Json::array();
  for (const OperatorRow& row : t.rows) {
    Json dims = Json::object();
    for (std::size_t i = 0; i < row.call.dims.size() && !row.call.cls->dims[i].empty(); ++i) {
      dims[std::string(row.call.cls->dims[i])] = row.call.dims[i];
    }
    const Work work = times(row.call.work, row.count);
    rows.push_back({{"role", row.call.role},
                    {"class", row.call.cls->name},
                    {"count", row.count},
                    {"dims", dims},
                    {"dtype", name(row.call.dtype)},
                    {"weight_dtype", name(row.call.weight_dtype)},
                    {"flops", work.flops()},
                    {"hbm_bytes", work.hbm_bytes()},
                    {"link_bytes", work.link_bytes},
                    {"flop_per_byte", work.intensity()},
                    {"bound", name(row.bound)},
                    {"time_us", row.seconds * 1e6},
                    {"share", row.seconds / t.total_s},
                    {"speed_of_light", row.light_seconds / row.seconds},
                    {"provenance", name(row.provenance)}});
  }
  return {{"operators", rows},
          {"flops", t.work.flops()},
          {"hbm_bytes", t.work.hbm_bytes()},
          {"weight_bytes", t.work.weight_bytes},
          {"flop_per_byte", t.work.intensity()},
          {"ridge_flop_per_byte", t.ridge},
          {"kernels_us", t.kernels_s * 1e6},
          {"device_us", t.device_s * 1e6},
          {"host_us", t.host_s * 1e6},
          {"total_us", t.total_s * 1e6},
          {"speed_of_light", t.light_s / t.kernels_s}};
}

}  // namespace orrery
