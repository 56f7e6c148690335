#include "des/collective_run.hpp"

#include <algorithm>
#include <vector>

#include "base/error.hpp"

namespace orrery {
namespace {

/// `rounds` rounds in which each rank sends `part` bytes to the next.
class Ring {
 public:
  Ring(Fabric& fabric, int ranks, int stride, int rounds, double part)
      : fabric_(fabric),
        stride_(stride),
        rounds_(rounds),
        part_(part),
        sent_(static_cast<std::size_t>(ranks)),
        got_(sent_.size()),
        begun_(sent_.size()) {}

  void start(Ps now) {
    for (int rank = 0; rank < ranks(); ++rank) go_on(rank, now);
  }

 private:
  int ranks() const { return static_cast<int>(sent_.size()); }

  void go_on(int rank, Ps now) {
    const auto r = static_cast<std::size_t>(rank);
    if (begun_[r] == rounds_ || sent_[r] < begun_[r] || got_[r] < begun_[r]) return;
    ++begun_[r];
    const int next = (rank + 1) % ranks();
    fabric_.transfer({Endpoint::Kind::gpu, rank * stride_}, {Endpoint::Kind::gpu, next * stride_},
                     Bytes(part_), now, [this, rank, next](Ps at) {
                       ++sent_[static_cast<std::size_t>(rank)];
                       ++got_[static_cast<std::size_t>(next)];
                       go_on(rank, at);
                       go_on(next, at);
                     });
  }

  Fabric& fabric_;
  int stride_, rounds_;
  double part_;
  std::vector<int> sent_, got_, begun_;  ///< parts, by rank
};

Ps drain(Fabric& fabric, Ps now) {
  for (Ps next = fabric.next_event(kNever); next != kNever; next = fabric.next_event(kNever)) {
    fabric.advance(next);
    now = next;
  }
  return now;
}

}  // namespace

std::string_view name(CollectiveKind kind) {
  constexpr std::string_view names[] = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all",
                                        "send_recv"};
  return names[static_cast<std::size_t>(kind)];
}

double bytes_sent(CollectiveKind kind, int ranks, double bytes) {
  if (kind == CollectiveKind::send_recv) return bytes;
  return (kind == CollectiveKind::all_reduce ? 2 : 1) * bytes * (ranks - 1) / ranks;
}

Ps run_collective(Fabric& fabric, CollectiveKind kind, int ranks, int stride, double bytes, Ps now) {
  ORRERY_CHECK(ranks > 1 && (ranks - 1) * stride < fabric.topology().gpus(), "ranks outside the cluster");
  const double part = bytes / ranks;
  if (kind == CollectiveKind::send_recv) {
    fabric.transfer({Endpoint::Kind::gpu, 0}, {Endpoint::Kind::gpu, (ranks - 1) * stride}, Bytes(bytes), now,
                    [](Ps) {});
    return drain(fabric, now) - now;
  }
  if (kind == CollectiveKind::all_to_all) {
    for (int a = 0; a < ranks; ++a) {
      for (int b = 0; b < ranks; ++b) {
        if (a == b) continue;
        fabric.transfer({Endpoint::Kind::gpu, a * stride}, {Endpoint::Kind::gpu, b * stride}, Bytes(part),
                        now, [](Ps) {});
      }
    }
    return drain(fabric, now) - now;
  }
  Ring ring(fabric, ranks, stride, (kind == CollectiveKind::all_reduce ? 2 : 1) * (ranks - 1), part);
  ring.start(now);
  return drain(fabric, now) - now;
}

}  // namespace orrery
