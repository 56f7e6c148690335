#include "report/latency_bands.hpp"

#include <algorithm>

#include "report/log_histogram.hpp"

namespace orrery {

namespace {

using Bins = LogHistogram<std::int64_t, -20, 7>;

LatencyParts divided(LatencyParts p, double n) {
  for (double* part : {&p.front_end, &p.queue, &p.prefill, &p.transfer, &p.decode}) *part /= n;
  return p;
}

}  // namespace

LatencyParts& LatencyParts::operator+=(const LatencyParts& o) {
  front_end += o.front_end, queue += o.queue, prefill += o.prefill;
  transfer += o.transfer, decode += o.decode;
  return *this;
}

LatencyParts latency_parts(const RequestRecord& r, Ps transfer) {
  return {to_ms(r.queued - r.arrival), to_ms(r.scheduled - r.queued), to_ms(r.first_token - r.scheduled),
          to_ms(transfer), to_ms(r.done - r.first_token - transfer)};
}

void LatencyBands::add(double latency_ms, const LatencyParts& parts) {
  Bin& bin = bins_[Bins::bin_of(latency_ms)];
  bin.shortest = bin.requests == 0 ? latency_ms : std::min(bin.shortest, latency_ms);
  bin.longest = std::max(bin.longest, latency_ms);
  ++bin.requests, ++requests_;
  bin.sum += parts;
}

std::vector<LatencyBands::Band> LatencyBands::bands(const std::vector<double>& edges) const {
  std::vector<Band> out;
  for (std::size_t i = 0; i + 1 < edges.size(); ++i) out.push_back({edges[i], edges[i + 1], 0, 0, 0, {}});
  const auto n = static_cast<double>(std::max<std::int64_t>(1, requests_));
  double before = 0;
  std::size_t at = 0;
  for (const auto& [index, bin] : bins_) {
    const double middle = 100 * (before + static_cast<double>(bin.requests) / 2) / n;
    while (at + 1 < out.size() && middle >= out[at].to) ++at;
    before += static_cast<double>(bin.requests);
    Band& band = out[at];
    if (band.requests == 0) band.shortest = bin.shortest;
    band.longest = bin.longest;
    band.requests += bin.requests;
    band.mean += bin.sum;
  }
  std::erase_if(out, [](const Band& b) { return b.requests == 0; });
  for (Band& band : out) band.mean = divided(band.mean, static_cast<double>(band.requests));
  return out;
}

}  // namespace orrery
