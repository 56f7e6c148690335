#include "scenario/live_steps.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <string_view>
#include <tuple>

#include <fmt/format.h>

#include "base/quantile.hpp"
#include "report/text.hpp"
#include "workload/csv_reader.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {
namespace {

/// "512@0;128@2048": new tokens at those before them.
class ChunkParser {
 public:
  explicit ChunkParser(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}
  bool parse(std::vector<PrefillChunk>& out) {
    if (at_ == end_) return true;
    do {
      PrefillChunk chunk;
      if (!number(chunk.new_tokens) || !word('@') || !number(chunk.past)) return false;
      out.push_back(chunk);
    } while (word(';'));
    return at_ == end_;
  }

 private:
  bool number(Tokens& out) {
    const auto [rest, error] = std::from_chars(at_, end_, out);
    at_ = rest;
    return error == std::errc() && out >= 0;
  }
  bool word(char c) { return at_ != end_ && *at_ == c && (++at_, true); }
  const char *at_, *end_;
};

std::string band_text(std::int64_t first, std::int64_t last) {
  return first == last ? grouped(first) : grouped(first) + " to " + grouped(last);
}
/// Bands 1, 2 to 4, 5 to 16, ...: the number of the one that holds n.
int band_of(std::int64_t n) {
  int band = 0;
  for (std::int64_t last = 1; last < n; last *= 4) ++band;
  return band;
}
std::string band_name(int band) {
  std::int64_t last = 1;
  for (int i = 0; i < band; ++i) last *= 4;
  return band_text(band == 0 ? 1 : last / 4 + 1, last);
}

using GroupKey = std::tuple<StepGroup::By, int, int>;

GroupKey key_of(const MeasuredStep& s) {
  if (!s.chunks.empty()) return {StepGroup::By::mixed, band_of(s.prefill_tokens()), 0};
  return {StepGroup::By::decode, band_of(s.decode_seqs), band_of(s.context / s.decode_seqs)};
}
std::string name_of(const GroupKey& key) {
  const auto [by, first, second] = key;
  if (by == StepGroup::By::all) return "all steps";
  if (by == StepGroup::By::mixed) return fmt::format("prefill of {}", band_name(first));
  return fmt::format("{} decoding at {}", band_name(first), band_name(second));
}

struct Gathered {
  std::vector<double> errors;
  double predicted = 0;
  std::vector<double> run_time;
  std::vector<std::int64_t> run_steps;
  void add(std::size_t run, std::size_t runs, double measured_s, double predicted_s) {
    run_time.resize(runs), run_steps.resize(runs);
    errors.push_back(predicted_s / measured_s - 1);
    predicted += predicted_s, run_time[run] += measured_s, ++run_steps[run];
  }
};

/// Half the range of the runs' means, relative to the mean over all.
double spread_of(const Gathered& g, double mean_s) {
  double low = mean_s, high = mean_s;
  for (std::size_t i = 0; i < g.run_time.size(); ++i) {
    if (g.run_steps[i] == 0) continue;
    const double mean = g.run_time[i] / static_cast<double>(g.run_steps[i]);
    low = std::min(low, mean), high = std::max(high, mean);
  }
  return (high - low) / 2 / mean_s;
}

StepGroup summarise_group(const GroupKey& key, Gathered g, double all_s) {
  StepGroup out;
  out.by = std::get<0>(key), out.name = name_of(key);
  out.steps = static_cast<std::int64_t>(g.errors.size());
  double measured = 0;
  for (const double s : g.run_time) measured += s;
  const auto n = static_cast<double>(out.steps);
  out.share = measured / all_s;
  out.measured_mean_ms = 1000 * measured / n, out.predicted_mean_ms = 1000 * g.predicted / n;
  out.spread = spread_of(g, measured / n);
  std::sort(g.errors.begin(), g.errors.end());
  out.median = quantile_sorted(g.errors, 0.5);
  for (double& e : g.errors) e = std::abs(e);
  std::sort(g.errors.begin(), g.errors.end());
  out.median_abs = quantile_sorted(g.errors, 0.5), out.p90_abs = quantile_sorted(g.errors, 0.9);
  return out;
}

}  // namespace

Tokens MeasuredStep::prefill_tokens() const {
  Tokens n = 0;
  for (const auto& c : chunks) n += c.new_tokens;
  return n;
}

std::vector<MeasuredStep> read_live_steps(const std::string& path) {
  CsvReader csv(ByteSource::file(path).open(), path);
  const int duration = csv.column({"duration_s"}), device = csv.column({"device_s"});
  const int gap = csv.column({"gap_s"}), host = csv.column({"host_s"});
  const int seqs = csv.column({"decode_seqs"}), context = csv.column({"context_tokens"});
  const int chunks = csv.column({"chunks"});
  std::vector<MeasuredStep> out;
  while (csv.next()) {
    MeasuredStep s;
    s.duration_s = csv.number(duration), s.device_s = csv.number(device);
    s.gap_s = csv.number(gap), s.host_s = csv.number(host);
    s.decode_seqs = static_cast<std::int64_t>(csv.number(seqs));
    s.context = static_cast<Tokens>(csv.number(context));
    if (!ChunkParser(csv.field(chunks)).parse(s.chunks)) csv.fail(chunks, "chunks as new@past;new@past");
    if (s.duration_s <= 0) csv.fail(duration, "a positive duration");
    if (s.decode_seqs < 0 || s.context < s.decode_seqs) csv.fail(context, "a token per sequence or more");
    if (s.decode_seqs == 0 && s.chunks.empty()) csv.fail(seqs, "sequences or chunks");
    out.push_back(std::move(s));
  }
  return out;
}

double predicted_s(StepPricer& pricer, const MeasuredStep& step) {
  DecodeSet set;
  set.seqs = step.decode_seqs, set.context = step.context;
  const auto caps = pricer.model().caps();
  for (std::size_t i = 0; i < caps.size(); ++i) {
    const Tokens full = caps[i].tokens * set.seqs;
    set.windowed[i] = std::min(set.context, full);
    set.growing[i] = set.context < full ? set.seqs : 0;
  }
  const Ps price = step.chunks.empty() ? pricer.decode(set).first : pricer.mixed(set, step.chunks);
  return to_seconds(price).value;
}

std::vector<StepGroup> group_steps(const std::vector<std::vector<MeasuredStep>>& runs, StepPricer& pricer) {
  std::map<GroupKey, Gathered> groups;
  const GroupKey all{StepGroup::By::all, 0, 0};
  double all_s = 0;
  for (std::size_t run = 0; run < runs.size(); ++run) {
    for (const auto& step : runs[run]) {
      const double predicted = predicted_s(pricer, step);
      for (const auto& key : {all, key_of(step)})
        groups[key].add(run, runs.size(), step.duration_s, predicted);
      all_s += step.duration_s;
    }
  }
  std::vector<StepGroup> out;
  for (auto& [key, gathered] : groups) out.push_back(summarise_group(key, std::move(gathered), all_s));
  return out;
}

}  // namespace orrery
