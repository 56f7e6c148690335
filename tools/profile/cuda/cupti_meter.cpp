#include "cupti_meter.hpp"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include <cuda_runtime_api.h>
#include <cupti_activity.h>
#include <fmt/format.h>

#include "activity_trace.hpp"
#include "cupti_library.hpp"

namespace orrery::profile {

namespace {

// Record layouts are those of the headers; CUDA 12's last and CUDA 13's first have these fields alike.
#if CUDART_VERSION >= 13000
using KernelRecord = CUpti_ActivityKernel10;
using CopyRecord = CUpti_ActivityMemcpy6;
#else
using KernelRecord = CUpti_ActivityKernel9;
using CopyRecord = CUpti_ActivityMemcpy5;
#endif
using SetRecord = CUpti_ActivityMemset4;

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                         CUPTI_ACTIVITY_KIND_MEMSET};
constexpr std::size_t kBufferBytes = std::size_t{4} << 20;
constexpr std::size_t kBufferAlignment = 8;  // ACTIVITY_RECORD_ALIGNMENT

struct Functions {
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush = nullptr;
  decltype(&cuptiActivityGetNextRecord) next_record = nullptr;

  bool load(const CuptiLibrary& from) {
    return from.find(register_callbacks, "cuptiActivityRegisterCallbacks") &&
           from.find(enable, "cuptiActivityEnable") && from.find(disable, "cuptiActivityDisable") &&
           from.find(flush, "cuptiActivityFlushAll") && from.find(next_record, "cuptiActivityGetNextRecord");
  }
};

/// Where CUPTI's callbacks, which carry no argument of ours, put what they are given.
struct Trace {
  std::mutex mutex;  ///< buffers complete on a thread of CUPTI's
  Functions cupti;
  std::vector<ActivityRecord> records;
};
Trace& trace() {
  static Trace& one = *new Trace;  // never destroyed: CUPTI's thread may outlive static objects
  return one;
}

void CUPTIAPI buffer_requested(std::uint8_t** buffer, std::size_t* size, std::size_t* max_records) {
  *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(kBufferAlignment, kBufferBytes));
  *size = *buffer == nullptr ? 0 : kBufferBytes;
  *max_records = 0;
}

void keep(const CUpti_Activity& activity, std::vector<ActivityRecord>& out) {
  using Kind = ActivityRecord::Kind;
  if (activity.kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL || activity.kind == CUPTI_ACTIVITY_KIND_KERNEL) {
    const auto& k = reinterpret_cast<const KernelRecord&>(activity);
    const bool marker = k.name != nullptr && std::strstr(k.name, CacheEviction::kKernelName) != nullptr;
    out.push_back({marker ? Kind::marker : Kind::kernel, k.start, k.end});
  } else if (activity.kind == CUPTI_ACTIVITY_KIND_MEMSET) {
    const auto& s = reinterpret_cast<const SetRecord&>(activity);
    out.push_back({Kind::set, s.start, s.end});
  } else if (activity.kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
    const auto& c = reinterpret_cast<const CopyRecord&>(activity);
    out.push_back({Kind::copy, c.start, c.end});
  }
}

void CUPTIAPI buffer_completed(CUcontext, std::uint32_t, std::uint8_t* buffer, std::size_t,
                               std::size_t valid) {
  Trace& to = trace();
  const std::lock_guard lock(to.mutex);
  CUpti_Activity* record = nullptr;
  while (valid > 0 && to.cupti.next_record(buffer, valid, &record) == CUPTI_SUCCESS)
    keep(*record, to.records);
  std::free(buffer);
}

std::vector<ActivityRecord> take_records(std::uint32_t flush_flag) {
  Trace& from = trace();
  from.cupti.flush(flush_flag);
  const std::lock_guard lock(from.mutex);
  return std::exchange(from.records, {});
}

class CuptiMeter final : public Meter {
 public:
  CuptiMeter(std::shared_ptr<const CuptiLibrary> library, std::shared_ptr<const CacheEviction> eviction)
      : library_(std::move(library)), eviction_(std::move(eviction)) {}
  ~CuptiMeter() override { stop(); }
  CuptiMeter(const CuptiMeter&) = delete;
  CuptiMeter& operator=(const CuptiMeter&) = delete;

  std::string_view name() const override { return "CUPTI activity records"; }

  std::vector<double> sample(const Sampling& s) override {
    const int lead = s.cold ? 0 : 1;  // the first warm launch finds what ran before it in the cache
    for (int i = 0; i < s.samples + lead; ++i) {
      eviction_->enqueue(s.cold, s.stream);
      s.instance->launch(s.stream);
    }
    if (s.while_running) s.while_running();
    kernels::synchronize_device();
    auto seconds = seconds_of(s.timing, s.samples + lead);
    seconds.erase(seconds.begin(), seconds.begin() + lead);
    return seconds;
  }

  void keep_busy(double seconds, const std::function<void()>& while_running) override {
    eviction_->busy(seconds, while_running);
    discard();
  }
  void suspend() override {
    discard();
    stop();
  }
  void resume() override {
    kernels::synchronize_device();
    for (const auto kind : kKinds) trace().cupti.enable(kind);
  }
  void discard() override {
    kernels::synchronize_device();
    take_records(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  }

 private:
  static void stop() {
    for (const auto kind : kKinds) trace().cupti.disable(kind);
  }
  static std::vector<double> seconds_of(kernels::Timing timing, int launches) {
    auto records = take_records(0);
    try {
      return seconds_per_launch(records, timing, launches);
    } catch (const MeterError&) {  // a buffer was not complete yet
      const auto rest = take_records(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
      records.insert(records.end(), rest.begin(), rest.end());
      return seconds_per_launch(std::move(records), timing, launches);
    }
  }

  std::shared_ptr<const CuptiLibrary> library_;
  std::shared_ptr<const CacheEviction> eviction_;
};

}  // namespace

std::unique_ptr<Meter> make_cupti_meter(std::shared_ptr<const CacheEviction> eviction, std::string& why) {
  auto library = CuptiLibrary::open(why);
  if (library == nullptr) return nullptr;
  Functions& cupti = trace().cupti;
  if (!cupti.load(*library)) {
    why = "the CUPTI library here lacks functions of its Activity API";
    return nullptr;
  }
  CUptiResult result = cupti.register_callbacks(buffer_requested, buffer_completed);
  for (const auto kind : kKinds) {
    if (result == CUPTI_SUCCESS) result = cupti.enable(kind);
  }
  if (result != CUPTI_SUCCESS) {
    why = "CUPTI does not start: " + library->error_name(result);
    return nullptr;
  }
  return std::make_unique<CuptiMeter>(std::move(library), std::move(eviction));
}

}  // namespace orrery::profile
