#include "report/fairness.hpp"

namespace orrery {

namespace {

nlohmann::ordered_json group_json(const char* key, const GroupStats& g) {
  nlohmann::ordered_json json = {{key, g.id},
                                 {"completed", g.completed},
                                 {"failed", g.failed},
                                 {"input_tokens", g.input_tokens},
                                 {"output_tokens", g.output_tokens},
                                 {"mean_ttft_ms", g.mean_ttft_ms},
                                 {"p99_ttft_ms", g.p99_ttft_ms},
                                 {"mean_tpot_ms", g.mean_tpot_ms},
                                 {"p99_tpot_ms", g.p99_tpot_ms},
                                 {"mean_slowdown", g.mean_slowdown}};
  if (g.attainment) json["attainment"] = *g.attainment;
  return json;
}

nlohmann::ordered_json groups_json(const char* key, const std::vector<GroupStats>& groups) {
  auto json = nlohmann::ordered_json::array();
  for (const GroupStats& g : groups) json.push_back(group_json(key, g));
  return json;
}

}  // namespace

std::optional<double> jain_index(std::span<const double> shares) {
  double sum = 0, squares = 0;
  for (const double x : shares) sum += x, squares += x * x;
  if (squares <= 0) return std::nullopt;
  return sum * sum / (static_cast<double>(shares.size()) * squares);
}

nlohmann::ordered_json to_json(const Fairness& f) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!f.classes.empty()) json["classes"] = groups_json("priority", f.classes);
  if (f.clients > 0) {
    nlohmann::ordered_json clients = {{"count", f.clients},
                                      {"worst", groups_json("client", f.worst_clients)}};
    if (f.jain_tokens) clients["jain_tokens"] = *f.jain_tokens;
    if (f.jain_slowdown) clients["jain_slowdown"] = *f.jain_slowdown;
    if (f.uncounted_requests > 0) clients["uncounted_requests"] = f.uncounted_requests;
    json["clients"] = clients;
  }
  return json;
}

}  // namespace orrery
