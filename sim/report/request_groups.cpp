#include "report/request_groups.hpp"

#include <algorithm>
#include <cmath>

namespace orrery {

namespace {
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double mean(double sum, std::int64_t count) {
  return count > 0 ? sum / static_cast<double>(count) : kNone;
}

template <class Histogram>
double p99(const Histogram& h) {
  if (h.total() == 0) return kNone;
  const auto rank = static_cast<std::uint32_t>(0.99 * static_cast<double>(h.total() - 1));
  return Histogram::middle(h.place(rank).bin);
}
}  // namespace

GroupStats RequestCounts::stats(std::int32_t id, bool has_thresholds) const {
  GroupStats out;
  out.id = id;
  out.completed = completed, out.failed = failed;
  out.input_tokens = input_tokens, out.output_tokens = output_tokens;
  out.mean_slowdown = mean(slowdown, completed);
  if (has_thresholds && completed + failed > 0)
    out.attainment = static_cast<double>(good) / static_cast<double>(completed + failed);
  return out;
}

RequestClass* RequestClasses::find(std::int32_t priority) {
  if (classes_.empty()) classes_.emplace(*first_, all_);  // so far all were of that one
  const auto it = classes_.find(priority);
  if (it != classes_.end()) return &it->second;
  if (classes_.size() == kMaxClasses) return nullptr;
  return &classes_.emplace(priority, RequestClass(max_exact_)).first->second;
}

std::vector<GroupStats> RequestClasses::stats(PercentileMethod method, bool has_thresholds) {
  constexpr double percents[] = {99};
  std::vector<GroupStats> out;
  for (auto& [priority, group] : classes_) {
    GroupStats stats = group.counts.stats(priority, has_thresholds);
    const MetricStats ttft = group.ttft.stats(percents, method), tpot = group.tpot.stats(percents, method);
    stats.mean_ttft_ms = ttft.mean, stats.p99_ttft_ms = ttft.at(99);
    stats.mean_tpot_ms = tpot.mean, stats.p99_tpot_ms = tpot.at(99);
    out.push_back(stats);
  }
  return out;
}

ClientTable::Row* ClientTable::row(std::int32_t client) {
  if (client >= kMaxClients) return nullptr;
  const auto i = static_cast<std::size_t>(client);
  if (i >= rows_.size()) rows_.resize(std::max(i + 1, rows_.size() * 2));
  rows_[i].seen = true;
  return &rows_[i];
}

void ClientTable::completed(const RequestRecord& r, const Served& served) {
  Row* own = r.client < 0 ? nullptr : row(r.client);
  if (!own) return;
  own->counts.add(r, served);
  own->ttft_ms += served.ttft_ms;
  if (r.output_tokens > 1) own->tpot_ms += served.tpot_ms, ++own->tpots;
  if (own->arrivals_then < arrivals_) {
    own->tokens_in_time += own->tokens_since;
    own->tokens_since = 0, own->arrivals_then = arrivals_;
  }
  own->tokens_since += r.prompt_tokens + r.output_tokens;
  if (r.client >= kMaxHistograms) return;
  const auto i = static_cast<std::size_t>(r.client);
  if (i >= latencies_.size()) latencies_.resize(i + 1);
  latencies_[i].ttft.add(served.ttft_ms, 1);
  if (r.output_tokens > 1) latencies_[i].tpot.add(served.tpot_ms, 1);
}

GroupStats ClientTable::stats(std::size_t client, bool has_thresholds) const {
  const Row& own = rows_[client];
  GroupStats out = own.counts.stats(static_cast<std::int32_t>(client), has_thresholds);
  out.mean_ttft_ms = mean(own.ttft_ms, own.counts.completed);
  out.mean_tpot_ms = mean(own.tpot_ms, own.tpots);
  const bool kept = client < latencies_.size();
  out.p99_ttft_ms = kept ? p99(latencies_[client].ttft) : kNone;
  out.p99_tpot_ms = kept ? p99(latencies_[client].tpot) : kNone;
  return out;
}

void ClientTable::fill(Fairness& out, bool has_thresholds) const {
  std::vector<std::size_t> served;
  std::vector<double> tokens, slowdowns;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const Row& own = rows_[i];
    if (!own.seen) continue;
    const bool in_time = own.arrivals_then < arrivals_;
    tokens.push_back(static_cast<double>(own.tokens_in_time + (in_time ? own.tokens_since : 0)));
    if (own.counts.completed == 0) continue;
    served.push_back(i);
    slowdowns.push_back(own.counts.slowdown / static_cast<double>(own.counts.completed));
  }
  if (tokens.size() < 2) return;
  out.clients = static_cast<std::int64_t>(tokens.size());
  out.uncounted_requests = uncounted_;
  out.jain_tokens = jain_index(tokens);
  out.jain_slowdown = jain_index(slowdowns);
  std::vector<std::size_t> order(served.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const std::size_t shown = std::min(kWorst, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown), order.end(),
                    [&](std::size_t a, std::size_t b) {
                      return slowdowns[a] != slowdowns[b] ? slowdowns[a] > slowdowns[b] : a < b;
                    });
  for (std::size_t i = 0; i < shown; ++i)
    out.worst_clients.push_back(stats(served[order[i]], has_thresholds));
}

}  // namespace orrery
