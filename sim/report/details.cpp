#include "report/details.hpp"

#include <algorithm>
#include <cmath>

namespace orrery {

namespace {

constexpr std::int64_t kSecond = 1'000'000'000'000;  // ps
constexpr std::size_t kMostPoints = 600;             // of a curve over time

OrderedJson to_json(const LatencyParts& p) {
  return {{"front_end_ms", p.front_end},
          {"queue_ms", p.queue},
          {"prefill_ms", p.prefill},
          {"transfer_ms", p.transfer},
          {"decode_ms", p.decode}};
}

OrderedJson to_json(const LatencyBands& bands) {
  auto json = OrderedJson::array();
  for (const auto& band : bands.bands({0, 50, 90, 99, 100})) {
    OrderedJson one = {{"from", band.from},
                       {"to", band.to},
                       {"requests", band.requests},
                       {"min_ms", band.shortest},
                       {"max_ms", band.longest}};
    one.update(to_json(band.mean));
    json.push_back(one);
  }
  return json;
}

OrderedJson to_json(const RequestRecord& r, Ps transfer) {
  OrderedJson json = {{"id", r.id},
                      {"arrival_s", to_seconds(r.arrival).value},
                      {"prompt_tokens", r.prompt_tokens},
                      {"cached_tokens", r.cached_tokens},
                      {"output_tokens", r.output_tokens},
                      {"replica", r.replica},
                      {"preemptions", r.preemptions}};
  json.update(to_json(latency_parts(r, transfer)));
  return json;
}

/// Events per second, at most kMostPoints of them: longer runs in longer intervals.
OrderedJson rates(const std::vector<std::int64_t>& arrivals, const std::vector<std::int64_t>& completions) {
  const std::size_t seconds = std::max(arrivals.size(), completions.size());
  const std::size_t interval = std::max<std::size_t>(1, (seconds + kMostPoints - 1) / kMostPoints);
  const auto per_second = [&](const std::vector<std::int64_t>& counts) {
    std::vector<double> out;
    for (std::size_t from = 0; from < seconds; from += interval) {
      const std::size_t to = std::min(seconds, from + interval);
      std::int64_t sum = 0;
      for (std::size_t i = from; i < std::min(to, counts.size()); ++i) sum += counts[i];
      out.push_back(static_cast<double>(sum) / static_cast<double>(to - from));
    }
    return out;
  };
  return {{"interval_s", interval},
          {"arrivals_per_s", per_second(arrivals)},
          {"completions_per_s", per_second(completions)}};
}

std::int64_t rounded(double sum, double weight) {
  return weight > 0 ? std::max<std::int64_t>(0, std::llround(sum / weight)) : 0;
}

}  // namespace

void Details::on_decode_run(const DecodeRun& run) {
  busiest_.add(run);
  const double seconds = to_seconds(run.duration()).value;
  decode_s_ += seconds;
  decode_seqs_ += seconds * static_cast<double>(run.seqs);
  decode_context_ += seconds * static_cast<double>(run.context);
}

void Details::on_mixed_step(const MixedStep& step) {
  busiest_.add(step);
  const auto tokens = static_cast<double>(step.prefill_tokens);
  prompt_tokens_ += tokens;
  prefill_tokens_ += tokens * tokens;
  for (const ChunkEvent& chunk : step.chunks)
    prefill_past_ += static_cast<double>(chunk.new_tokens) * static_cast<double>(chunk.past);
  prefill_decodes_ += tokens * static_cast<double>(step.decode_seqs);
  prefill_context_ += tokens * static_cast<double>(step.context);
}

void Details::on_arrival(const Request& request, CoreId) {
  count(arrivals_, request.arrival);
}

void Details::on_kv_transfer(const KvTransfer& t) {
  transfers_[t.request] = t.exposed();
}

void Details::on_request_done(const RequestRecord& r) {
  Ps transfer{0};
  if (const auto it = transfers_.find(r.id); it != transfers_.end()) {
    transfer = std::clamp(it->second, Ps(0), r.done - r.first_token);
    transfers_.erase(it);
  }
  if (r.failure) return;
  count(completions_, r.done);
  if (r.arrival < options_.warmup) return;
  const double ttft = to_ms(r.first_token - r.arrival), e2el = to_ms(r.done - r.arrival);
  const LatencyParts parts = latency_parts(r, transfer);
  by_ttft_.add(ttft, parts);
  by_e2el_.add(e2el, parts);
  rank(worst_ttft_, {ttft, r, transfer});
  rank(worst_e2el_, {e2el, r, transfer});
}

void Details::rank(Worst& worst, Ranked entry) const {
  if (worst.size() >= options_.worst) {
    if (!(entry < *worst.rbegin())) return;
    worst.erase(std::prev(worst.end()));
  }
  worst.insert(std::move(entry));
}

void Details::count(std::vector<std::int64_t>& per_second, Ps when) {
  const auto second = static_cast<std::size_t>(when.value / kSecond);
  if (second >= per_second.size()) per_second.resize(second + 1);
  ++per_second[second];
}

TypicalSteps Details::typical() const {
  TypicalSteps t;
  t.decode_seqs = rounded(decode_seqs_, decode_s_);
  t.decode_context = rounded(decode_context_, decode_seqs_);
  t.prefill_tokens = rounded(prefill_tokens_, prompt_tokens_);
  t.prefill_past = rounded(prefill_past_, prompt_tokens_);
  t.prefill_decodes = rounded(prefill_decodes_, prompt_tokens_);
  t.prefill_context = rounded(prefill_context_, prefill_decodes_);
  return t;
}

OrderedJson Details::json() const {
  const auto list = [](const Worst& worst) {
    auto json = OrderedJson::array();
    for (const Ranked& r : worst) json.push_back(to_json(r.request, r.transfer));
    return json;
  };
  return {{"bands", {{"ttft", to_json(by_ttft_)}, {"e2el", to_json(by_e2el_)}}},
          {"worst", {{"ttft", list(worst_ttft_)}, {"e2el", list(worst_e2el_)}}},
          {"rates", rates(arrivals_, completions_)},
          {"busiest", busiest_.json()}};
}

}  // namespace orrery
