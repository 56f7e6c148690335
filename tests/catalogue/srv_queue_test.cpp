// Who is served next: queues against their closed forms, and fairness against its theorem.
#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <map>

#include "base/rng.hpp"
#include "method.hpp"
#include "serving/queue_policy.hpp"
#include "serving/scheduler.hpp"
#include "support/fake_engine.hpp"

using namespace orrery;

namespace {

/// Poisson arrivals of equal prompts that ask for one token each.
class EqualJobs final : public RequestSource {
 public:
  EqualJobs(double rate, std::int64_t count) : gap_(1 / rate), left_(count) {}
  bool next(Request& out) override {
    if (left_-- <= 0) return false;
    now_ += rng_.exponential(gap_);
    out = Request{};
    out.id = id_++, out.arrival = to_ps(Seconds(now_)), out.prompt_tokens = 512, out.output_tokens = 1;
    return true;
  }

 private:
  Rng rng_{5, "arrivals"};
  double gap_, now_ = 0;
  std::int64_t left_, id_ = 0;
};

class Waits final : public Observer {
 public:
  double sum = 0;
  std::int64_t n = 0;
  void on_request_done(const RequestRecord& r) override {
    sum += to_seconds(r.scheduled - r.queued).value;
    ++n;
  }
};

ReplicaConfig one_at_a_time(const std::string& policy) {
  KernelPlan plan;
  plan.async_scheduling = false;
  ReplicaConfig replica;
  replica.scheduler.async_scheduling = false;
  replica.scheduler.max_num_seqs = 1;
  replica.scheduler.queue.policy = policy;
  replica.kv = {5000, 16, false};
  replica.pricer = test::pricer(load_model("llama-3.1-8b"), plan);
  return replica;
}

}  // namespace

// Pollaczek and Khinchine for equal service times D: mean wait = rho D / (2 (1 - rho)).
TEST_CASE("SRV-11 is the mean wait of first come, first served that of an M/D/1 queue?") {
  const auto row = block_of<QueueParams>("SRV-11", "queue");
  const ReplicaConfig replica = one_at_a_time(row.policy);
  const PrefillChunk chunk{512, 0};
  const double service = to_seconds(replica.pricer->mixed({}, {&chunk, 1})).value;
  const std::array<std::array<double, 2>, 3> expected{{{0.5, 0.5}, {0.8, 2.0}, {0.9, 4.5}}};
  for (const auto& [load, wait] : expected) {
    ClusterConfig cluster;
    cluster.replicas = {replica};
    EqualJobs source(load / service, load < 0.85 ? 600000 : 2000000);
    Waits waits;
    Observer* observers[] = {&waits};
    simulate(cluster, source, observers);
    INFO("load " << load);
    CHECK(waits.sum / static_cast<double>(waits.n) / service == Approx(wait).epsilon(0.02));
  }
}

namespace {

/// What two backlogged clients were served, step by step: client 0 sends many long prompts with short
/// answers, client 1 few short prompts with long answers.
class TwoClients {
 public:
  explicit TwoClients(const QueueParams& queue) {
    SchedulerConfig config;
    config.queue = queue;
    config.async_scheduling = false;
    config.max_num_seqs = 64, config.max_num_batched_tokens = 8192, config.max_model_len = 8192;
    scheduler_ = make_scheduler(config, {kBlocks + 1, 16, false}, {});
    // First come, first served takes them as they come: three of client 0 for one of client 1.
    for (int i = 0; i < 4000; ++i) add(i % 4 == 3 ? 1 : 0);
  }

  /// Runs until a client's queue is empty; the largest difference of service seen before that.
  double largest_gap() {
    double largest = 0;
    while (waiting_[0] > 0 && waiting_[1] > 0) {
      BatchPlan plan;
      scheduler_->schedule(plan);
      std::vector<DecodeMember> members;
      scheduler_->expand(plan, members);
      for (const SeqIndex i : plan.admitted) {
        const Sequence& seq = scheduler_->sequence(i);
        --waiting_[static_cast<std::size_t>(seq.request.client)];
        served(seq.request.client) += kPromptWeight * seq.request.prompt_tokens;
      }
      for (const auto& chunk : plan.chunks) {
        if (chunk.last) served(scheduler_->sequence(chunk.seq).request.client) += kAnswerWeight;
      }
      for (const auto& member : members)
        served(scheduler_->sequence(member.seq).request.client) += kAnswerWeight;
      largest = std::max(largest, std::abs(service_[0] - service_[1]));
      scheduler_->complete(plan);
      for (const SeqIndex i : plan.finishing) scheduler_->release_slot(i);
    }
    return largest;
  }

  static constexpr std::int64_t kBlocks = 1000;  // M = 16000 tokens of running requests
  static constexpr double kPromptWeight = 1, kAnswerWeight = 2;
  static constexpr std::int32_t kLongestPrompt = 2000;

 private:
  void add(std::int32_t client) {
    Request r;
    r.id = next_++;
    r.arrival = Ps(r.id);
    r.client = client;
    r.prompt_tokens = client == 0 ? kLongestPrompt : 50, r.output_tokens = client == 0 ? 10 : 300;
    const char* refusal = nullptr;
    REQUIRE(scheduler_->add(r, r.arrival, &refusal) != kNoSeq);
    ++waiting_[static_cast<std::size_t>(client)];
  }
  double& served(std::int32_t client) { return service_[static_cast<std::size_t>(client)]; }

  std::unique_ptr<Scheduler> scheduler_;
  std::array<std::int64_t, 2> waiting_{};
  std::array<double, 2> service_{};
  RequestId next_ = 0;
};

}  // namespace

// Theorem 4.4 of the paper: while two clients are backlogged their service differs by at most
// 2 max(w_p L_input, w_q M), L_input the longest prompt and M the tokens that fit into a batch.
TEST_CASE("SRV-14 do virtual token counters keep two backlogged clients within the bound that FCFS breaks?") {
  const auto row = block_of<QueueParams>("SRV-14", "queue");
  REQUIRE(row.prompt_weight == TwoClients::kPromptWeight);
  REQUIRE(row.answer_weight == TwoClients::kAnswerWeight);
  const double bound = 2 * std::max(TwoClients::kPromptWeight * TwoClients::kLongestPrompt,
                                    TwoClients::kAnswerWeight * 16.0 * TwoClients::kBlocks);
  CHECK(TwoClients(row).largest_gap() <= bound);
  CHECK(TwoClients(QueueParams{}).largest_gap() > bound);
}
