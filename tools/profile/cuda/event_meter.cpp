#include "event_meter.hpp"

#include <algorithm>
#include <deque>

namespace orrery::profile {

namespace {

constexpr double kGraphSeconds = 2e-3;
constexpr int kMostPerGraph = 200;

class EventMeter final : public Meter {
 public:
  explicit EventMeter(std::shared_ptr<const CacheEviction> eviction) : eviction_(std::move(eviction)) {}
  std::string_view name() const override { return "CUDA events"; }

  std::vector<double> sample(const Sampling& s) override {
    const double one = timed(s, {}, 1, 1, false).front();
    const int launches =
        s.cold ? 1 : std::clamp(static_cast<int>(kGraphSeconds / std::max(one, 1e-7)), 1, kMostPerGraph);
    return timed(s, s.while_running, launches, s.samples, s.cold);
  }
  void keep_busy(double seconds, const std::function<void()>& while_running) override {
    eviction_->busy(seconds, while_running);
  }

 private:
  /// Seconds per launch of `samples` replays of a graph of `launches`.
  std::vector<double> timed(const Sampling& s, const std::function<void()>& while_running, int launches,
                            int samples, bool cold) const {
    const auto enqueue = [&](kernels::StreamRef stream) {
      for (int i = 0; i < launches; ++i) s.instance->launch(stream);
    };
    const kernels::Graph graph = captured(enqueue);
    std::deque<kernels::Event> starts(static_cast<std::size_t>(samples)),
        ends(static_cast<std::size_t>(samples));
    for (std::size_t i = 0; i < starts.size(); ++i) {
      eviction_->enqueue(cold, s.stream);
      starts[i].record(s.stream);
      graph ? graph.replay(s.stream) : enqueue(s.stream);
      ends[i].record(s.stream);
    }
    if (while_running) while_running();
    kernels::synchronize_device();
    std::vector<double> seconds;
    for (std::size_t i = 0; i < starts.size(); ++i)
      seconds.push_back(ends[i].seconds_since(starts[i]) / launches);
    return seconds;
  }

  /// An empty graph when what is launched cannot be captured (pageable copies): then it is launched plainly.
  static kernels::Graph captured(const std::function<void(kernels::StreamRef)>& enqueue) {
    try {
      return kernels::Graph(enqueue);
    } catch (const kernels::DeviceError& e) {
      if (e.lost || e.out_of_memory) throw;
      return {};
    }
  }

  std::shared_ptr<const CacheEviction> eviction_;
};

}  // namespace

std::unique_ptr<Meter> make_event_meter(std::shared_ptr<const CacheEviction> eviction) {
  return std::make_unique<EventMeter>(std::move(eviction));
}

}  // namespace orrery::profile
