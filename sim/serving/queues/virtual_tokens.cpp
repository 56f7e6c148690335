#include <algorithm>
#include <limits>
#include <map>
#include <vector>

#include "serving/queue_policy.hpp"

namespace orrery {
namespace {

/// Virtual token counters (VTC; Sheng et al., Fairness in Serving Large Language Models, OSDI 2024, algorithm
/// 2): each client has a counter of what it was served, w_p for a prompt token and w_q for an answer's, and
/// the client with the least is admitted next. A client that comes back is lifted to the least of those who
/// wait, so that nobody saves up service by being away.
class VirtualTokens final : public QueuePolicy {
 public:
  explicit VirtualTokens(const QueueParams& params)
      : prompt_weight_(params.prompt_weight), answer_weight_(params.answer_weight) {}

  bool before(const Sequence& a, const Sequence& b) const override {
    const double counter_a = clients_.at(a.request.client).counter,
                 counter_b = clients_.at(b.request.client).counter;
    return counter_a != counter_b ? counter_a < counter_b : arrived_before(a.request, b.request);
  }
  bool changes() const override { return true; }

  void waits(const Sequence& seq) override { newcomers_.push_back(seq.request.client); }
  void decides() override {
    for (const std::int32_t id : newcomers_) {
      Client& client = clients_[id];
      if (client.waiting == 0) client.counter = std::max(client.counter, least_waiting());
      ++client.waiting;
    }
    newcomers_.clear();
  }
  void admitted(const Sequence& seq) override {
    Client& client = clients_.at(seq.request.client);
    --client.waiting;
    last_left_ = seq.request.client;
    if (seq.preemptions == 0) client.counter += prompt_weight_ * seq.request.prompt_tokens + answer_weight_;
  }
  void decodes(const Sequence& seq, int change) override {
    auto& decoding = clients_.at(seq.request.client).decoding;
    const auto lane = static_cast<std::size_t>(seq.lane);
    if (lane >= decoding.size()) decoding.resize(lane + 1);
    decoding[lane] += change;
  }
  void served(int lane, Tokens each) override {
    for (auto& [id, client] : clients_) {
      if (static_cast<std::size_t>(lane) >= client.decoding.size()) continue;
      const std::int64_t tokens = client.decoding[static_cast<std::size_t>(lane)] * each;
      client.counter += answer_weight_ * static_cast<double>(tokens);
    }
  }

 private:
  struct Client {
    double counter = 0;
    std::int64_t waiting = 0;
    std::vector<std::int64_t> decoding;  ///< by lane
  };

  /// The counter that a client who comes (back) is lifted to: where nobody waits, that of the one who left
  /// the queue last.
  double least_waiting() const {
    double least = std::numeric_limits<double>::infinity();
    for (const auto& [id, client] : clients_) {
      if (client.waiting > 0) least = std::min(least, client.counter);
    }
    if (least < std::numeric_limits<double>::infinity()) return least;
    const auto left = clients_.find(last_left_);
    return left == clients_.end() ? 0 : left->second.counter;
  }

  double prompt_weight_, answer_weight_;
  std::map<std::int32_t, Client> clients_;
  std::vector<std::int32_t> newcomers_;
  std::int32_t last_left_ = std::numeric_limits<std::int32_t>::min();
};

const Registration<QueuePolicies> vtc{
    "vtc", "fair among clients: the one that was served least next (virtual token counters)",
    [](const QueueParams& c, const KvCache&) -> std::unique_ptr<QueuePolicy> {
      return std::make_unique<VirtualTokens>(c);
    }};

}  // namespace
}  // namespace orrery
