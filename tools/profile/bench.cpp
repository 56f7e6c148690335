#include "bench.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include <fmt/format.h>

#include "base/quantile.hpp"

namespace orrery::profile {

using kernels::Timing;

namespace {

constexpr double kBatchSeconds = 0.01;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void pause_s(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

/// While it lives, the timer adds nothing to launches.
class Suspended {
 public:
  explicit Suspended(Meter& meter) : meter_(meter) { meter_.suspend(); }
  ~Suspended() { meter_.resume(); }
  Suspended(const Suspended&) = delete;
  Suspended& operator=(const Suspended&) = delete;

 private:
  Meter& meter_;
};

std::optional<double> median_of(const std::vector<Readings>& all, std::optional<double> Readings::*field) {
  std::vector<double> values;
  for (const Readings& r : all) {
    if (r.*field) values.push_back(*(r.*field));
  }
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  return quantile_sorted(values, 0.5);
}

}  // namespace

Readings median_readings(const std::vector<Readings>& all) {
  Readings out;
  for (const auto field : {&Readings::sm_mhz, &Readings::mem_mhz, &Readings::temperature_c}) {
    out.*field = median_of(all, field);
  }
  return out;
}

std::optional<double> mean_power(const std::vector<std::pair<double, Readings>>& by_second) {
  const std::pair<double, Readings>*first = nullptr, *last = nullptr, *before = nullptr;
  double sum = 0;
  int readings = 0;
  for (const auto& entry : by_second) {
    const Readings& r = entry.second;
    if (r.power_w) sum += *r.power_w, ++readings;
    if (!r.energy_j) continue;
    if (before != nullptr && *r.energy_j > *before->second.energy_j) {
      if (first == nullptr) first = &entry;
      last = &entry;
    }
    before = &entry;
  }
  if (first != last) {
    return (*last->second.energy_j - *first->second.energy_j) / (last->first - first->first);
  }
  return readings > 0 ? std::optional(sum / readings) : std::nullopt;
}

void Bench::warm_up(kernels::Instance& instance, kernels::StreamRef stream) {
  for (int i = 0; i < settings_.warm_up_launches; ++i) instance.launch(stream);
  kernels::synchronize(stream);
  if (settings_.check_results) {
    const kernels::Check check = instance.check();
    if (!check.passed()) {
      throw WrongResult(
          fmt::format("error {:.2e} against its reference, tolerance {:.0e}", check.error, check.tolerance));
    }
  }
  meter_.discard();
}

Bench::Samples Bench::take(Sampling sampling) {
  Samples out{StopRule(settings_.limits), {}, false};
  int rejected = 0;
  while (!out.rule.enough()) {
    Readings during;
    sampling.samples = out.rule.next_batch(kBatchSeconds);
    sampling.while_running = [&] { during = sensors_.read(); };
    const double start = now_s();
    const std::vector<double> samples = meter_.sample(sampling);
    if (guard_.throttled(during)) {
      if (rejected < settings_.max_throttled_batches) {
        ++rejected;
        pause_s(settings_.settle_s);
        continue;
      }
      out.throttled = true;
    }
    out.rule.add(samples, now_s() - start);
    out.readings.push_back(during);
  }
  return out;
}

Bench::Samples Bench::take_own(kernels::Instance& instance) {
  Samples out{StopRule(settings_.limits), {}, false};
  const Suspended without_timer(meter_);
  while (!out.rule.enough()) {
    const double start = now_s();
    const double time = instance.measure();
    out.rule.add({time}, now_s() - start);
  }
  out.readings.push_back(sensors_.read());
  return out;
}

std::optional<double> Bench::power_of(kernels::Instance& instance, kernels::StreamRef stream,
                                      double launch_s) {
  // Bursts long enough that two of them in flight keep the GPU busy while the sensors are read.
  const int burst = std::clamp(static_cast<int>(0.02 / std::max(launch_s, 1e-6)), 1, 5000);
  const Suspended without_timer(meter_);
  std::array<kernels::Event, 2> ends;
  std::vector<std::pair<double, Readings>> readings;
  const double start = now_s();
  for (std::size_t round = 0; now_s() < start + settings_.power_window_s; ++round) {
    for (int i = 0; i < burst; ++i) instance.launch(stream);
    ends[round % 2].record(stream);
    if (round > 0) ends[(round - 1) % 2].wait();
    const Readings r = sensors_.read();
    if (!r.power_w && !r.energy_j) break;
    readings.emplace_back(now_s(), r);
  }
  kernels::synchronize(stream);
  return mean_power(readings);
}

Readings Bench::spin_up() {
  Readings last;
  meter_.keep_busy(settings_.spin_up_s, [&] {
    last = sensors_.read();
    guard_.throttled(last);
  });
  return last;
}

Measurement Bench::measure(const Job& job) {
  const kernels::Component& component = *Registry<kernels::Components>::find(job.component).make;
  const kernels::Case& what = job.what;
  const auto instance = component.make(what);
  const kernels::Stream stream;
  kernels::synchronize_device();  // inputs are made on the default stream, which this one does not wait for
  Sampling sampling;
  sampling.what = &what, sampling.instance = instance.get(), sampling.timing = component.timing(what);
  sampling.stream = stream.ref();
  warm_up(*instance, stream.ref());

  const bool own = sampling.timing == Timing::own;
  const Samples cold = own && meter_.real() ? take_own(*instance) : take(sampling);
  Measurement m;
  m.time_s = cold.rule.median(), m.spread = cold.rule.spread(), m.samples = cold.rule.count();
  m.gpu = median_readings(cold.readings), m.throttled = cold.throttled;
  if (own && meter_.real()) return m;
  sampling.cold = false;
  const Samples warm = take(sampling);
  m.time_warm_s = warm.rule.median();
  m.throttled |= warm.throttled;
  if (job.extras.power) m.gpu.power_w = power_of(*instance, stream.ref(), *m.time_warm_s);
  if (job.extras.counters) m.dram_bytes = counters_.dram_bytes(*instance, stream.ref());
  return m;
}

}  // namespace orrery::profile
