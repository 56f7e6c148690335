#include <algorithm>
#include <cstring>
#include <memory>

#include "component.hpp"
#include "device/numeric.cuh"
#include "ops/copies.hpp"
#include "random.hpp"

// Copies between host and device by the copy engines, from page-locked and from pageable memory, on one or
// several streams; within the device by the driver's copy and by a plain vectorised kernel, the yardstick of
// every memory-bound kernel here.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) copy_kernel(uint4* to, const uint4* from, std::size_t n) {
  const std::size_t stride = std::size_t{gridDim.x} * kThreads;
  std::size_t i = std::size_t{blockIdx.x} * kThreads + threadIdx.x;
  for (; i + 3 * stride < n; i += 4 * stride) {  // four loads in flight before the first store
    const uint4 a = from[i], b = from[i + stride], c = from[i + 2 * stride], d = from[i + 3 * stride];
    to[i] = a, to[i + stride] = b, to[i + 2 * stride] = c, to[i + 3 * stride] = d;
  }
  for (; i < n; i += stride) to[i] = from[i];
}

enum class Memory : std::uint8_t { device, pinned, pageable };

/// Bytes on either side, wherever they are.
class Buffer {
 public:
  Buffer(Memory where, std::size_t bytes) : where_(where) {
    if (where == Memory::device) device_ = DeviceArray<std::uint8_t>(bytes);
    if (where == Memory::pinned) pinned_ = PinnedArray<std::uint8_t>(bytes);
    if (where == Memory::pageable) pageable_.resize(bytes);
  }
  std::uint8_t* data() {
    return where_ == Memory::device   ? device_.data()
           : where_ == Memory::pinned ? pinned_.data()
                                      : pageable_.data();
  }

 private:
  Memory where_;
  DeviceArray<std::uint8_t> device_;
  PinnedArray<std::uint8_t> pinned_;
  std::vector<std::uint8_t> pageable_;
};

class CopyInstance final : public Instance {
 public:
  CopyInstance(Memory from, Memory to, std::size_t bytes, int streams, bool by_kernel, std::uint64_t seed)
      : bytes_(bytes), by_kernel_(by_kernel), seed_(seed), from_(from, bytes), to_(to, bytes) {
    const auto random = random_bytes();
    copy_async(from_.data(), random.data(), bytes, nullptr);
    synchronize_device();
    for (int i = 1; i < streams; ++i) streams_.push_back(std::make_unique<Stream>());
    done_ = std::vector<Event>(static_cast<std::size_t>(streams));
  }

  /// Equal parts, one per stream; the others start after and are waited for by `stream`.
  void launch(StreamRef stream) override {
    const std::size_t parts = streams_.size() + 1,
                      part = ceil_div(ceil_div(bytes_, parts), std::size_t{16}) * 16;
    if (parts > 1) done_[0].record(stream);
    for (std::size_t i = 0; i < parts; ++i) {
      const std::size_t at = std::min(i * part, bytes_), n = std::min(part, bytes_ - at);
      const StreamRef on = i == 0 ? stream : streams_[i - 1]->ref();
      if (i > 0) done_[0].make_wait(on);
      if (n > 0) copy_part(at, n, on);
      if (i > 0) done_[i].record(on), done_[i].make_wait(stream);
    }
  }

  Check check() override {
    synchronize_device();
    std::vector<std::uint8_t> out(bytes_);
    copy_async(out.data(), to_.data(), bytes_, nullptr);
    synchronize(nullptr);
    return {out == random_bytes().download() ? 0.0 : 1.0, 0};
  }

 private:
  DeviceArray<std::uint8_t> random_bytes() const {
    DeviceArray<std::uint8_t> random(bytes_);
    fill_random_bytes(random.data(), bytes_, seed_);
    return random;
  }
  void copy_part(std::size_t at, std::size_t n, StreamRef stream) {
    if (!by_kernel_) {
      copy_async(to_.data() + at, from_.data() + at, n, stream);
      return;
    }
    const std::size_t packs = n / sizeof(uint4);
    const auto blocks = std::clamp<std::size_t>(ceil_div(packs, std::size_t{kThreads * 4}), 1, 132 * 8);
    kernels::launch(copy_kernel, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream},
                    reinterpret_cast<uint4*>(to_.data() + at),
                    reinterpret_cast<const uint4*>(from_.data() + at), packs);
  }

  std::size_t bytes_;
  bool by_kernel_;
  std::uint64_t seed_;
  Buffer from_, to_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<Event> done_;
};

struct Direction {
  const KernelClass* cls;
  Memory from, to;
};
const Direction kDirections[] = {{&kCopyH2D, Memory::pinned, Memory::device},
                                 {&kCopyD2H, Memory::device, Memory::pinned},
                                 {&kCopyD2D, Memory::device, Memory::device},
                                 {&kCopyH2DPageable, Memory::pageable, Memory::device},
                                 {&kCopyD2HPageable, Memory::device, Memory::pageable}};

class Copies final : public Component {
 public:
  std::string_view source() const override {
    return "CUDA runtime, cudaMemcpyAsync; a vectorised copy kernel";
  }

  Timing timing(const Case& c) const override {
    if (c.call.dims[1] > 1) return Timing::span;
    return c.variant == "kernel" ? Timing::kernels : Timing::copies;
  }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const double mib : {64.0, 1.0, 0.0625, 1024.0, 16.0, 4.0, 256.0, 0.25, 0.015625, 0.00390625}) {
      for (const Direction& d : kDirections) {
        cases.push_back(of(*d.cls, mib * 1048576, 1, "driver"));
        if (d.cls == &kCopyD2D) cases.push_back(of(*d.cls, mib * 1048576, 1, "kernel"));
      }
    }
    for (const double mib : {64.0, 4.0, 256.0}) {
      for (const double streams : {2.0, 4.0}) {
        for (const auto* cls : {&kCopyH2D, &kCopyD2H, &kCopyD2D})
          cases.push_back(of(*cls, mib * 1048576, streams, "driver"));
      }
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases;
    for (const Direction& d : kDirections) {
      cases.push_back(of(*d.cls, 4096, 1, "driver"));
      cases.push_back(of(*d.cls, 100000, 3, "driver"));
    }
    for (const double bytes : {16.0, 4096.0, 160000.0}) cases.push_back(of(kCopyD2D, bytes, 1, "kernel"));
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    for (const Direction& d : kDirections) {
      if (d.cls == call.cls) return {of(*call.cls, call.dims[0], call.dims[1], "driver")};
    }
    return {};
  }

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (3 * c.call.dims[0] > 0.9 * static_cast<double>(device.memory_bytes))
      return "larger than the device's memory";
    return std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    const Direction* d = std::find_if(std::begin(kDirections), std::end(kDirections),
                                      [&](const Direction& each) { return each.cls == c.call.cls; });
    return std::make_unique<CopyInstance>(d->from, d->to, static_cast<std::size_t>(c.call.dims[0]),
                                          static_cast<int>(c.call.dims[1]), c.variant == "kernel", c.seed);
  }

 private:
  static Case of(const KernelClass& cls, double bytes, double streams, const char* variant) {
    Case c;
    c.call = make_call(cls, {bytes, streams}, DType::int8, DType::int8);
    c.call.lane = Lane::copy;
    c.variant = variant;
    return c;
  }
};

const Copies component;

}  // namespace

const Registration<Components> copies{"copies", "copies between and within host and device memory",
                                      &component};

}  // namespace orrery::kernels
