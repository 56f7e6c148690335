#include "steps_csv.hpp"

#include <fmt/format.h>

namespace orrery::live {

void StepsCsv::write(const LiveStep& s) {
  std::string chunks;
  for (const auto& c : s.chunks) {
    chunks += fmt::format("{}{}@{}", chunks.empty() ? "" : ";", c.tokens.new_tokens, c.tokens.past);
  }
  file_.write(fmt::format("{:.9f},{:.9f},{},{},{},{},{},{},{:.9f},{:.9f},{:.9f}\n", to_seconds(s.start).value,
                          to_seconds(s.duration).value, s.decode_seqs, s.context, s.prefill_tokens, chunks,
                          s.report.padded, s.report.graph ? 1 : 0, s.report.device_s, s.report.gap_s,
                          s.host_s));
}

}  // namespace orrery::live
