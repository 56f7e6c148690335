#include "component.hpp"
#include "kv_transfer.hpp"
#include "ops/copies.hpp"
#include "random.hpp"

// KV blocks out of the paged cache into one buffer and back: what swapping, offloading and prefill/decode
// disaggregation move (Kwon et al., vLLM, 2023, section 4.3). One thread block per (block, pool), 16-byte
// accesses; bound by memory, or by the link when the buffer is page-locked host memory, which the kernel then
// addresses directly.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 128;

template <bool gather>
__global__ void __launch_bounds__(kThreads) transfer_kernel(KvTransferArgs args) {
  const std::int64_t packs = args.bytes / 16;
  uint4* block = reinterpret_cast<uint4*>(args.pools[blockIdx.y]) +
                 static_cast<std::int64_t>(args.block_ids[blockIdx.x]) * packs;
  uint4* buffer =
      reinterpret_cast<uint4*>(args.buffer) +
      (static_cast<std::int64_t>(blockIdx.x) * args.pools_count + static_cast<std::int64_t>(blockIdx.y)) *
          packs;
  for (std::int64_t i = threadIdx.x; i < packs; i += kThreads) {
    if (gather) {
      buffer[i] = block[i];
    } else {
      block[i] = buffer[i];
    }
  }
}

LaunchShape shape(const KvTransferArgs& args, StreamRef stream) {
  return {dim3(static_cast<unsigned>(args.blocks), static_cast<unsigned>(args.pools_count)), dim3(kThreads),
          0, stream};
}

}  // namespace

void kv_gather(const KvTransferArgs& args, StreamRef stream) {
  if (args.blocks > 0) launch(transfer_kernel<true>, shape(args, stream), args);
}
void kv_scatter(const KvTransferArgs& args, StreamRef stream) {
  if (args.blocks > 0) launch(transfer_kernel<false>, shape(args, stream), args);
}

namespace {

/// Moves every second block of pools twice as large, in a scrambled order.
class TransferInstance final : public Instance {
 public:
  TransferInstance(bool gather, bool host, int blocks, int pools, std::int64_t bytes, std::uint64_t seed)
      : gather_(gather), pool_bytes_(static_cast<std::size_t>(2 * blocks * bytes)) {
    memory_ = DeviceArray<std::uint8_t>(pool_bytes_ * static_cast<std::size_t>(pools));
    fill_random_bytes(memory_.data(), memory_.size(), seed);
    const auto n = static_cast<std::size_t>(blocks * bytes * pools);
    if (host) {
      pinned_ = PinnedArray<std::uint8_t>(n);
    } else {
      buffer_ = DeviceArray<std::uint8_t>(n);
    }
    args_.buffer = host ? pinned_.data() : buffer_.data();
    DeviceArray<std::uint8_t> random(n);
    fill_random_bytes(random.data(), n, seed + 1);
    copy_async(args_.buffer, random.data(), n, nullptr);
    synchronize_device();
    std::vector<std::uint8_t*> pointers;
    for (int p = 0; p < pools; ++p)
      pointers.push_back(memory_.data() + static_cast<std::size_t>(p) * pool_bytes_);
    for (int b = 0; b < blocks; ++b) ids_.push_back(2 * ((b * 7 + 1) % blocks) + 1);
    pools_ = DeviceArray<std::uint8_t*>(pointers), ids_on_device_ = DeviceArray<std::int32_t>(ids_);
    args_.pools = pools_.data(), args_.block_ids = ids_on_device_.data();
    args_.pools_count = pools, args_.blocks = blocks, args_.bytes = bytes;
  }

  void launch(StreamRef stream) override { gather_ ? kv_gather(args_, stream) : kv_scatter(args_, stream); }

  /// The buffer and the blocks it names are equal byte for byte.
  Check check() override {
    synchronize_device();
    const auto memory = memory_.download();
    std::vector<std::uint8_t> buffer(
        static_cast<std::size_t>(args_.blocks * args_.bytes * args_.pools_count));
    copy_async(buffer.data(), args_.buffer, buffer.size(), nullptr);
    synchronize(nullptr);
    const auto bytes = static_cast<std::size_t>(args_.bytes);
    double wrong = 0;
    for (std::size_t b = 0; b < ids_.size(); ++b) {
      for (std::size_t p = 0; p < static_cast<std::size_t>(args_.pools_count); ++p) {
        const auto* block = memory.data() + p * pool_bytes_ + static_cast<std::size_t>(ids_[b]) * bytes;
        const auto* out = buffer.data() + (b * static_cast<std::size_t>(args_.pools_count) + p) * bytes;
        if (!std::equal(block, block + bytes, out)) wrong += 1;
      }
    }
    return {wrong, 0};
  }

 private:
  bool gather_;
  std::size_t pool_bytes_;
  DeviceArray<std::uint8_t> memory_, buffer_;
  PinnedArray<std::uint8_t> pinned_;
  DeviceArray<std::uint8_t*> pools_;
  std::vector<std::int32_t> ids_;
  DeviceArray<std::int32_t> ids_on_device_;
  KvTransferArgs args_;
};

class KvTransfer final : public Component {
 public:
  std::string_view source() const override { return "Kwon et al., vLLM, 2023, section 4.3 (swapping)"; }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    constexpr std::int64_t most = std::int64_t{4} << 30;
    constexpr std::int64_t most_pinned = std::int64_t{1} << 30;  // to pin more takes seconds
    // K and V of 16 tokens, 8 KV heads of 128 in bf16: 32 KiB a pool; 32 and 80 layers, and one layer alone.
    for (const std::int64_t pools : {64, 2, 160, 16}) {
      for (const std::int64_t blocks : {128, 8, 1024, 1, 32, 512}) {
        for (const auto* cls : {&kKvGather, &kKvScatter, &kKvOffload, &kKvRestore}) {
          const bool host = cls == &kKvOffload || cls == &kKvRestore;
          if (pools * blocks * 32768 <= (host ? most_pinned : most))
            cases.push_back(of(*cls, blocks, pools, 32768));
        }
      }
    }
    return cases;
  }
  std::vector<Case> checks() const override {
    std::vector<Case> cases;
    for (const auto* cls : {&kKvGather, &kKvScatter, &kKvOffload, &kKvRestore}) {
      cases.push_back(of(*cls, 1, 1, 16)), cases.push_back(of(*cls, 5, 3, 4112));
    }
    return cases;
  }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    constexpr std::int64_t bytes = 32768;
    const auto block_bytes = static_cast<std::int64_t>(call.dims[1]);
    for (const auto* cls : {&kKvGather, &kKvScatter, &kKvOffload, &kKvRestore}) {
      if (call.cls != cls || block_bytes % bytes != 0) continue;
      return {of(*cls, static_cast<std::int64_t>(call.dims[0]), block_bytes / bytes, bytes)};
    }
    return {};
  }
  std::unique_ptr<Instance> make(const Case& c) const override {
    const auto pools = c.option("pools", 64);
    const bool gather = c.call.cls == &kKvGather || c.call.cls == &kKvOffload;
    const bool host = c.call.cls == &kKvOffload || c.call.cls == &kKvRestore;
    return std::make_unique<TransferInstance>(gather, host, static_cast<int>(c.call.dims[0]),
                                              static_cast<int>(pools),
                                              static_cast<std::int64_t>(c.call.dims[1]) / pools, c.seed);
  }

 private:
  static Case of(const KernelClass& cls, std::int64_t blocks, std::int64_t pools, std::int64_t bytes) {
    Case c;
    c.call = make_call(cls, {static_cast<double>(blocks), static_cast<double>(pools * bytes)}, DType::int8,
                       DType::int8);
    c.call.lane = Lane::copy;
    c.variant = "kernel";
    c.with["pools"] = pools;
    return c;
  }
};

const KvTransfer component;

}  // namespace

const Registration<Components> kv_transfer{"kv_transfer", "paged KV blocks to and from one buffer",
                                           &component};

}  // namespace orrery::kernels
