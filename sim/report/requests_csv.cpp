#include <algorithm>
#include <optional>

#include "report/decimal.hpp"
#include "report/output_file.hpp"
#include "report/writers.hpp"

namespace orrery {

struct RequestsCsv::Impl {
  Impl(const std::string& path, const Slo& slo)
      : file(path),
        has_thresholds(slo.has_thresholds()),
        ttft(slo.threshold_ms(Metric::ttft)),
        tpot(slo.threshold_ms(Metric::tpot)),
        e2el(slo.threshold_ms(Metric::e2el)) {}

  bool meets_slo(Ps first, Ps per_token, Ps whole) const {
    const auto within = [](const std::optional<double>& limit, Ps t) { return !limit || to_ms(t) <= *limit; };
    return within(ttft, first) && within(tpot, per_token) && within(e2el, whole);
  }

  OutputFile file;
  bool has_thresholds;
  std::optional<double> ttft, tpot, e2el;
};

RequestsCsv::RequestsCsv(const std::string& path, const Slo& slo) : impl_(std::make_unique<Impl>(path, slo)) {
  impl_->file.write(header);
}
RequestsCsv::~RequestsCsv() = default;

void RequestsCsv::on_request_done(const RequestRecord& r) {
  constexpr std::size_t kMaxRow = 512;  // 14 numbers of at most 24 characters; the reason is written apart
  auto& m = *impl_;
  const Ps ttft = r.first_token - r.arrival;
  const std::int64_t gaps = r.output_tokens - 1;
  const Ps tpot = gaps > 0 ? (r.done - r.first_token) / gaps : Ps(0);

  char* p = m.file.reserve(kMaxRow);
  p = write_integer(p, r.id), *p++ = ',';
  p = write_seconds(p, r.arrival), *p++ = ',';
  for (const Ps t : {r.queued, r.scheduled, r.first_token, r.done}) {
    if (!r.failure) p = write_seconds(p, t);
    *p++ = ',';
  }
  p = write_integer(p, r.prompt_tokens), *p++ = ',';
  p = write_integer(p, r.cached_tokens), *p++ = ',';
  p = write_integer(p, r.output_tokens), *p++ = ',';
  p = write_integer(p, r.replica), *p++ = ',';
  p = write_integer(p, r.preemptions), *p++ = ',';
  if (!r.failure) p = write_ms(p, ttft);
  *p++ = ',';
  if (!r.failure && gaps > 0) p = write_ms(p, tpot);
  *p++ = ',';
  if (m.has_thresholds) *p++ = !r.failure && m.meets_slo(ttft, tpot, r.done - r.arrival) ? '1' : '0';
  *p++ = ',';
  if (!r.failure) *p++ = '\n';
  m.file.commit(p);
  if (r.failure) {
    std::string reason = r.failure;
    std::replace_if(
        reason.begin(), reason.end(), [](char c) { return c == ',' || c == '\n' || c == '"'; }, ';');
    m.file.write(reason);
    m.file.write("\n");
  }
}

void RequestsCsv::on_end(Ps) {
  impl_->file.close();
}

}  // namespace orrery
