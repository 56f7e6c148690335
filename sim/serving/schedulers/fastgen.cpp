#include "serving/reservation.hpp"

namespace orrery {
namespace {

/// DeepSpeed-FastGen's Dynamic SplitFuse (Holmes et al., 2024, section 3.2): each forward pass is filled up
/// to one fixed number of tokens. Every running sequence decodes in it, long prompts are cut to what is left,
/// short ones are put together until it is full.
class FastGen final : public Scheduler {
 public:
  FastGen(SchedulerConfig config, const KvConfig& kv, std::vector<KeyCap> caps)
      : Scheduler(split_fuse(std::move(config)), kv, std::move(caps)) {}

 private:
  static SchedulerConfig split_fuse(SchedulerConfig config) {
    config.enable_chunked_prefill = true;
    config.long_prefill_token_threshold = 0;
    return config;
  }
  void decide(BatchPlan& plan) override { plan_mixed(plan); }
};

const Registration<Schedulers> fastgen{
    "fastgen", "Dynamic SplitFuse: decodes first, prompts cut and joined to fill a fixed number of tokens",
    make_policy<FastGen>};

}  // namespace
}  // namespace orrery
