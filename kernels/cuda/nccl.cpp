#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include <cuda_runtime.h>
#include <dlfcn.h>

#include "collectives.hpp"
#include "runtime/runtime.hpp"

namespace orrery::kernels {
namespace {

// NCCL is optional: found at run time, declared here (NCCL 2 API, nccl.h: types and enumerators used below).
using Comm = void*;
constexpr int kBf16 = 9, kSum = 0;

/// Small integers, which Bf16 holds exactly.
using Bf16 = std::uint16_t;
Bf16 from_small(float x) {
  return static_cast<Bf16>(std::bit_cast<std::uint32_t>(x) >> 16);
}
float to_small(Bf16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x) << 16);
}

struct Nccl {
  int (*init_all)(Comm*, int, const int*) = nullptr;
  int (*destroy)(Comm) = nullptr;
  int (*all_reduce)(const void*, void*, std::size_t, int, int, Comm, cudaStream_t) = nullptr;
  int (*all_gather)(const void*, void*, std::size_t, int, Comm, cudaStream_t) = nullptr;
  int (*send)(const void*, std::size_t, int, int, Comm, cudaStream_t) = nullptr;
  int (*receive)(void*, std::size_t, int, int, Comm, cudaStream_t) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  const char* (*error_string)(int) = nullptr;

  static const Nccl& get() {
    static const Nccl library = load();
    return library;
  }
  bool loaded() const { return group_end != nullptr; }
  void check(int code, const char* doing) const {
    if (code != 0) throw DeviceError(std::string(doing) + ": " + error_string(code), code, false, false);
  }

 private:
  static Nccl load() {
    Nccl n;
    void* library = dlopen("libnccl.so.2", RTLD_NOW);
    if (library == nullptr) return n;
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    };
    find(n.init_all, "ncclCommInitAll"), find(n.destroy, "ncclCommDestroy");
    find(n.all_reduce, "ncclAllReduce"), find(n.all_gather, "ncclAllGather");
    find(n.send, "ncclSend"), find(n.receive, "ncclRecv"), find(n.error_string, "ncclGetErrorString");
    find(n.group_start, "ncclGroupStart"), find(n.group_end, "ncclGroupEnd");
    return n;
  }
};

/// Makes a device current for a scope.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    cudaGetDevice(&before_);
    check_cuda(cudaSetDevice(device), "choose a GPU");
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
};

struct Rank {
  Comm comm = nullptr;
  cudaStream_t stream = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  Bf16 *in = nullptr, *out = nullptr;
};

}  // namespace

struct RankGroup::Impl {
  std::vector<Rank> ranks;
};

int RankGroup::available(std::string* why) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess) devices = 0;
  if (devices > 1 && !Nccl::get().loaded()) {
    if (why != nullptr) *why = "libnccl.so.2 was not found";
    return 1;
  }
  if (devices <= 1 && why != nullptr) *why = "one GPU has nobody to talk to";
  return devices;
}

RankGroup::RankGroup(int ranks, std::size_t bytes) : impl_(std::make_unique<Impl>()) {
  impl_->ranks.resize(static_cast<std::size_t>(ranks));
  std::vector<Comm> comms(impl_->ranks.size());
  Nccl::get().check(Nccl::get().init_all(comms.data(), ranks, nullptr), "make NCCL communicators");
  for (std::size_t i = 0; i < comms.size(); ++i) {
    const OnDevice here(static_cast<int>(i));
    Rank& r = impl_->ranks[i];
    r.comm = comms[i];
    check_cuda(cudaStreamCreateWithFlags(&r.stream, cudaStreamNonBlocking), "make a stream");
    check_cuda(cudaEventCreate(&r.begin), "make an event");
    check_cuda(cudaEventCreate(&r.end), "make an event");
    r.in = static_cast<Bf16*>(allocate_device(bytes));
    r.out = static_cast<Bf16*>(allocate_device(bytes * comms.size()));
  }
}

RankGroup::~RankGroup() {
  for (std::size_t i = 0; i < impl_->ranks.size(); ++i) {
    Rank& r = impl_->ranks[i];
    if (cudaSetDevice(static_cast<int>(i)) != cudaSuccess) continue;
    if (r.comm != nullptr) Nccl::get().destroy(r.comm);
    free_device(r.in), free_device(r.out);
    cudaEventDestroy(r.begin), cudaEventDestroy(r.end), cudaStreamDestroy(r.stream);
  }
  cudaSetDevice(0);
}

double RankGroup::run(Collective what, std::size_t bytes) {
  const Nccl& nccl = Nccl::get();
  const std::size_t n = bytes / sizeof(Bf16);
  auto& ranks = impl_->ranks;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const OnDevice here(static_cast<int>(i));
    check_cuda(cudaEventRecord(ranks[i].begin, ranks[i].stream), "record an event");
  }
  nccl.check(nccl.group_start(), "begin a group");
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const Rank& r = ranks[i];
    const int next = static_cast<int>((i + 1) % ranks.size()),
              before = static_cast<int>((i + ranks.size() - 1) % ranks.size());
    int code = 0;
    if (what == Collective::all_reduce) code = nccl.all_reduce(r.in, r.out, n, kBf16, kSum, r.comm, r.stream);
    if (what == Collective::all_gather) code = nccl.all_gather(r.in, r.out, n, kBf16, r.comm, r.stream);
    if (what == Collective::send_recv) {
      nccl.check(nccl.send(r.in, n, kBf16, next, r.comm, r.stream), "send");
      code = nccl.receive(r.out, n, kBf16, before, r.comm, r.stream);
    }
    nccl.check(code, "a collective");
  }
  nccl.check(nccl.group_end(), "end a group");
  double slowest = 0;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const OnDevice here(static_cast<int>(i));
    check_cuda(cudaEventRecord(ranks[i].end, ranks[i].stream), "record an event");
  }
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const OnDevice here(static_cast<int>(i));
    check_cuda(cudaEventSynchronize(ranks[i].end), "wait for a collective");
    float ms = 0;
    check_cuda(cudaEventElapsedTime(&ms, ranks[i].begin, ranks[i].end), "time between events");
    slowest = std::max(slowest, static_cast<double>(ms) * 1e-3);
  }
  return slowest;
}

double RankGroup::check(Collective what, std::size_t bytes) {
  auto& ranks = impl_->ranks;
  const std::size_t n = bytes / sizeof(Bf16);
  const auto value = [](std::size_t rank, std::size_t i) { return static_cast<float>(rank + 1 + i % 7); };
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    std::vector<Bf16> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = from_small(value(r, i));
    const OnDevice here(static_cast<int>(r));
    check_cuda(cudaMemcpy(ranks[r].in, values.data(), bytes, cudaMemcpyHostToDevice), "copy");
  }
  run(what, bytes);
  double wrong = 0;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    const std::size_t count = what == Collective::all_gather ? n * ranks.size() : n;
    std::vector<Bf16> out(count);
    const OnDevice here(static_cast<int>(r));
    check_cuda(cudaMemcpy(out.data(), ranks[r].out, count * sizeof(Bf16), cudaMemcpyDeviceToHost), "copy");
    for (std::size_t i = 0; i < count; ++i) {
      float wanted = 0;
      if (what == Collective::all_reduce) {
        for (std::size_t other = 0; other < ranks.size(); ++other) wanted += value(other, i);
      } else {
        wanted = what == Collective::all_gather ? value(i / n, i % n)
                                                : value((r + ranks.size() - 1) % ranks.size(), i);
      }
      wrong = std::max(wrong, static_cast<double>(std::fabs(to_small(out[i]) - wanted)));
    }
  }
  return wrong;
}

}  // namespace orrery::kernels
