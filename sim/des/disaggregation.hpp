#pragma once

#include <string>
#include <unordered_map>

#include "des/cluster.hpp"
#include "des/simulation.hpp"

namespace orrery {

/// Requests between the replicas that compute prompts and those that decode (Splitwise: Patel et al., 2024;
/// DistServe: Zhong et al., 2024). The first token comes with the prompt. Blocks are held on both sides: the
/// prefill replica's until the last byte has left, which holds back its next prompts, and the decode
/// replica's from before the first. With `overlap` the decode replica is chosen when the prompt begins and
/// all layers but the last are sent while it is computed (Splitwise, section 4.2), as far as blocks are there
/// in time; without, it is chosen when the prompt is computed.
class Disaggregation {
 public:
  Disaggregation(const HandoverConfig& config, const CoreContext& context, Cluster& cluster);

  /// The part of a request that the prefill replica is given.
  Request prefill_part(const Request& request);

  // As RequestListener tells of these.
  void on_prefill(const Request& part, const SequenceHandle& source, Ps start, Ps end);
  void on_prefilled(const Request& part, const SequenceHandle& source, const Prefilled& done, Ps now);
  void on_reserved(const Request& request, const SequenceHandle& target, Tokens tokens, Ps now);
  /// A replica has refused a request.
  void on_refused(RequestId id, Ps now);

  /// What each of the requests left over waits for, when nothing happens any more.
  std::string deadlock() const;

 private:
  struct Handover {
    Request request;  ///< as its client asked
    SequenceHandle source, target;
    Prefilled prefilled;
    KvTransfer told;
    Ps first_layer{0};      ///< with overlap, when its KV is there
    double sent_early = 0;  ///< bytes of the layers sent while the prompt was computed
    bool expected = false, reserved = false, computed = false, early_under_way = false, refused = false;
  };

  void expect(Handover& h, Ps now);
  void on_first_layer(RequestId id, Ps now);
  void send_early(Handover& h, Ps now);
  void send_rest(Handover& h, Ps now);
  void send(Handover& h, double bytes, Ps now, Fabric::Done done);
  void finish(RequestId id, Ps now);
  void complete_at_once(const Handover& h, Ps now);
  void release_source(const Handover& h, Ps now);

  HandoverConfig config_;
  CoreContext context_;
  Cluster& cluster_;
  std::unordered_map<RequestId, Handover> under_way_;
};

}  // namespace orrery
