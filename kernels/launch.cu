#include <chrono>
#include <cstring>

#include "component.hpp"
#include "device/numeric.cuh"
#include "ops/copies.hpp"

// What an engine pays around its kernels: enqueuing launches one by one, the gap between dependent kernels,
// replaying a captured graph, and writing a step's inputs into page-locked memory. None of these is the
// duration of a kernel, so each instance holds its own clock.

namespace orrery::kernels {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

__global__ void empty_kernel(int* count) {
  if (count != nullptr && threadIdx.x == 0) *count += 1;  // null when timed: a kernel that does nothing
}

class LaunchInstance final : public Instance {
 public:
  LaunchInstance(const KernelClass& cls, int kernels) : cls_(cls), kernels_(kernels), count_(1) {
    if (&cls == &kGraphHost || &cls == &kGraphDevice) {
      graph_ = Graph([&](StreamRef stream) { chain(stream, nullptr); });
    }
    for (int i = 0; i < 3; ++i) launch(stream_.ref());
    synchronize(stream_.ref());
  }

  void launch(StreamRef stream) override {
    if (graph_) {
      graph_.replay(stream);
    } else {
      chain(stream, nullptr);
    }
  }

  double measure() override {
    synchronize(stream_.ref());
    const bool device = &cls_ == &kLaunchDevice || &cls_ == &kGraphDevice;
    const auto started = Clock::now();
    if (device) begin_.record(stream_.ref());
    launch(stream_.ref());
    const double host = seconds_since(started);
    if (!device) return host;
    end_.record(stream_.ref());
    end_.wait();
    return end_.seconds_since(begin_);
  }

  /// As many kernels run as were asked for, in a graph or not.
  Check check() override {
    fill_async(count_.data(), 0, count_.bytes(), nullptr);
    synchronize_device();
    if (graph_) {
      const Graph counting([&](StreamRef stream) { chain(stream, count_.data()); });
      counting.replay(stream_.ref());
    } else {
      chain(stream_.ref(), count_.data());
    }
    synchronize(stream_.ref());
    return {static_cast<double>(std::abs(count_.download()[0] - kernels_)), 0};
  }

 private:
  void chain(StreamRef stream, int* count) {
    for (int i = 0; i < kernels_; ++i) kernels::launch(empty_kernel, {dim3(1), dim3(32), 0, stream}, count);
  }

  const KernelClass& cls_;
  int kernels_;
  DeviceArray<int> count_;
  Stream stream_;
  Event begin_, end_;
  Graph graph_;
};

/// What the host writes for a step of `seqs` decoding sequences whose block tables have `blocks` entries in
/// all.
class HostStepInstance final : public Instance {
 public:
  HostStepInstance(std::size_t seqs, std::size_t blocks)
      : seqs_(seqs),
        stride_(ceil_div(blocks, seqs)),
        tables_(seqs),
        ids_(seqs),
        positions_(seqs),
        lengths_(seqs),
        slots_(seqs),
        block_table_(seqs * stride_) {
    std::size_t left = blocks;
    for (std::size_t i = 0; i < seqs; ++i) {
      const std::size_t mine = std::min(stride_, left);
      left -= mine;
      for (std::size_t b = 0; b < mine; ++b)
        tables_[i].push_back(static_cast<std::int32_t>((b * seqs + i) * 7 % 65536));
    }
  }

  void launch(StreamRef) override { write(); }

  double measure() override {
    constexpr int repeats = 20;
    const auto started = Clock::now();
    for (int i = 0; i < repeats; ++i) write();
    return seconds_since(started) / repeats;
  }

  Check check() override {
    write();
    double wrong = 0;
    for (std::size_t i = 0; i < seqs_; ++i) {
      const auto length = static_cast<std::int64_t>(tables_[i].size()) * kBlock;
      if (lengths_.data()[i] != length) wrong += 1;
      if (!tables_[i].empty() && slots_.data()[i] != std::int64_t{tables_[i].back()} * kBlock + kBlock - 1)
        wrong += 1;
      for (std::size_t b = 0; b < tables_[i].size(); ++b)
        wrong += block_table_.data()[i * stride_ + b] != tables_[i][b] ? 1 : 0;
    }
    return {wrong, 0};
  }

 private:
  static constexpr int kBlock = 16;

  void write() {
    for (std::size_t i = 0; i < seqs_; ++i) {
      const auto& table = tables_[i];
      const auto length = static_cast<std::int32_t>(table.size()) * kBlock;
      ids_.data()[i] = static_cast<std::int32_t>(i), positions_.data()[i] = length - 1,
      lengths_.data()[i] = length;
      slots_.data()[i] = table.empty() ? -1 : std::int64_t{table.back()} * kBlock + kBlock - 1;
      if (!table.empty())
        std::memcpy(block_table_.data() + i * stride_, table.data(), table.size() * sizeof table[0]);
    }
  }

  std::size_t seqs_, stride_;
  std::vector<std::vector<std::int32_t>> tables_;
  PinnedArray<std::int32_t> ids_, positions_, lengths_;
  PinnedArray<std::int64_t> slots_;
  PinnedArray<std::int32_t> block_table_;
};

class Launch final : public Component {
 public:
  std::string_view source() const override {
    return "CUDA runtime; the inputs of a step in Kwon et al., vLLM, 2023, section 4";
  }
  Timing timing(const Case&) const override { return Timing::own; }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const double n : {100, 10, 500, 1, 1000, 30}) {
      for (const auto* cls : {&kGraphHost, &kGraphDevice, &kLaunchHost, &kLaunchDevice}) {
        if (n <= 500 || cls == &kGraphHost || cls == &kGraphDevice)
          cases.push_back(of(*cls, n));  // under the queue's depth
      }
    }
    for (const double seqs : {1, 64, 256, 16, 512, 128, 4, 32}) {
      for (const double blocks : {64, 8, 512}) cases.push_back(of(kHostStep, seqs, seqs * blocks));
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    return {of(kLaunchHost, 1),  of(kLaunchDevice, 7), of(kGraphHost, 5),
            of(kGraphDevice, 1), of(kHostStep, 3, 10), of(kHostStep, 1, 1)};
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    for (const auto* cls : {&kGraphHost, &kGraphDevice, &kLaunchHost, &kLaunchDevice, &kHostStep}) {
      if (cls == call.cls) return {of(*cls, call.dims[0], call.dims[1])};
    }
    return {};
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    if (c.call.cls == &kHostStep) {
      return std::make_unique<HostStepInstance>(static_cast<std::size_t>(c.call.dims[0]),
                                                static_cast<std::size_t>(c.call.dims[1]));
    }
    return std::make_unique<LaunchInstance>(*c.call.cls, static_cast<int>(c.call.dims[0]));
  }

 private:
  static Case of(const KernelClass& cls, double n, double blocks = 0) {
    Case c;
    c.call = make_call(cls, {n, blocks}, DType::int8, DType::int8);
    c.call.lane = Lane::cpu;
    c.variant = "own_clock";
    return c;
  }
};

const Launch component;

}  // namespace

const Registration<Components> launch_costs{
    "launch", "launches, graph replays, and a step's inputs on the host", &component};

}  // namespace orrery::kernels
