#include "cupti_counters.hpp"

#include <array>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <cuda_runtime_api.h>
#include <cupti_profiler_host.h>
#include <cupti_profiler_target.h>
#include <cupti_range_profiler.h>
#include <cupti_target.h>

#include "cupti_library.hpp"

namespace orrery::profile {

namespace {

std::array<const char*, 2> metrics() {
  return {"dram__bytes_read.sum", "dram__bytes_write.sum"};
}
constexpr int kMostPasses = 8;

class Refused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A parameter block of CUPTI's: zeros but for its size.
template <class Params>
Params params(std::size_t size) {
  Params p{};
  p.structSize = size;
  return p;
}
#define ORRERY_CUPTI_PARAMS(name) params<name>(name##_STRUCT_SIZE)

CUcontext current_context() {
  using GetCurrent = CUresult (*)(CUcontext*);
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  kernels::check_cuda(
      cudaGetDriverEntryPointByVersion("cuCtxGetCurrent", &function, 12000, cudaEnableDefault, &found),
      "look for the driver's context");
  CUcontext context = nullptr;
  if (function == nullptr || reinterpret_cast<GetCurrent>(function)(&context) != CUDA_SUCCESS) {
    throw Refused("the driver has no current context");
  }
  return context;
}

class RangeCounters final : public Counters {
 public:
  explicit RangeCounters(std::shared_ptr<const CacheEviction> eviction) : eviction_(std::move(eviction)) {
    try {
      library_ = CuptiLibrary::open(refusal_);
      if (library_ != nullptr) configure();
    } catch (const std::runtime_error& e) {
      refusal_ = e.what();
    }
  }
  ~RangeCounters() override {
    if (host_ == nullptr) return;
    auto p = ORRERY_CUPTI_PARAMS(CUpti_Profiler_Host_Deinitialize_Params);
    p.pHostObject = host_;
    decltype(&cuptiProfilerHostDeinitialize) deinitialize = nullptr;
    if (library_->find(deinitialize, "cuptiProfilerHostDeinitialize")) deinitialize(&p);
  }
  RangeCounters(const RangeCounters&) = delete;
  RangeCounters& operator=(const RangeCounters&) = delete;

  std::string refusal() const override { return refusal_; }

  std::optional<double> dram_bytes(kernels::Instance& instance, kernels::StreamRef stream) override {
    if (!refusal_.empty()) return std::nullopt;
    try {
      return counted(instance, stream);
    } catch (const Refused& e) {
      refusal_ = e.what();
      return std::nullopt;
    }
  }

 private:
  /// Calls cupti<name>(&p). Errors: Refused.
  template <class Params>
  void call(CUptiResult (*)(Params*), const char* symbol, Params& p) const {
    CUptiResult (*function)(Params*) = nullptr;
    if (!library_->find(function, symbol)) throw Refused(std::string("CUPTI here has no ") + symbol);
    if (const CUptiResult result = function(&p); result != CUPTI_SUCCESS) {
      const bool forbidden = result == CUPTI_ERROR_INSUFFICIENT_PRIVILEGES;
      throw Refused(library_->error_name(result) + " from " + symbol +
                    (forbidden ? " (the host keeps GPU counters to administrators)" : ""));
    }
  }
#define ORRERY_CUPTI_CALL(function, p) call(&function, #function, p)

  void configure();
  std::vector<std::uint8_t> availability(CUcontext context) const;
  double counted(kernels::Instance& instance, kernels::StreamRef stream);
  void run_passes(CUpti_RangeProfiler_Object* profiler, kernels::Instance& instance,
                  kernels::StreamRef stream);
  std::vector<std::uint8_t> new_image(CUpti_RangeProfiler_Object* profiler) const;
  double sum_of(const std::vector<std::uint8_t>& image) const;

  std::shared_ptr<const CuptiLibrary> library_;
  std::shared_ptr<const CacheEviction> eviction_;
  std::string refusal_;
  CUpti_Profiler_Host_Object* host_ = nullptr;
  std::vector<std::uint8_t> config_;
};

std::vector<std::uint8_t> RangeCounters::availability(CUcontext context) const {
  auto p = ORRERY_CUPTI_PARAMS(CUpti_Profiler_GetCounterAvailability_Params);
  p.ctx = context;
  ORRERY_CUPTI_CALL(cuptiProfilerGetCounterAvailability, p);
  std::vector<std::uint8_t> image(p.counterAvailabilityImageSize);
  p.pCounterAvailabilityImage = image.data();
  ORRERY_CUPTI_CALL(cuptiProfilerGetCounterAvailability, p);
  return image;
}

void RangeCounters::configure() {
  auto start = ORRERY_CUPTI_PARAMS(CUpti_Profiler_Initialize_Params);
  ORRERY_CUPTI_CALL(cuptiProfilerInitialize, start);
  int device = 0;
  kernels::check_cuda(cudaGetDevice(&device), "look for a GPU");
  auto chip = ORRERY_CUPTI_PARAMS(CUpti_Device_GetChipName_Params);
  chip.deviceIndex = static_cast<std::size_t>(device);
  ORRERY_CUPTI_CALL(cuptiDeviceGetChipName, chip);
  const auto available = availability(current_context());

  auto host = ORRERY_CUPTI_PARAMS(CUpti_Profiler_Host_Initialize_Params);
  host.profilerType = CUPTI_PROFILER_TYPE_RANGE_PROFILER;
  host.pChipName = chip.pChipName, host.pCounterAvailabilityImage = available.data();
  ORRERY_CUPTI_CALL(cuptiProfilerHostInitialize, host);
  host_ = host.pHostObject;

  auto names = metrics();
  auto add = ORRERY_CUPTI_PARAMS(CUpti_Profiler_Host_ConfigAddMetrics_Params);
  add.pHostObject = host_, add.ppMetricNames = names.data(), add.numMetrics = names.size();
  ORRERY_CUPTI_CALL(cuptiProfilerHostConfigAddMetrics, add);
  auto size = ORRERY_CUPTI_PARAMS(CUpti_Profiler_Host_GetConfigImageSize_Params);
  size.pHostObject = host_;
  ORRERY_CUPTI_CALL(cuptiProfilerHostGetConfigImageSize, size);
  config_.resize(size.configImageSize);
  auto image = ORRERY_CUPTI_PARAMS(CUpti_Profiler_Host_GetConfigImage_Params);
  image.pHostObject = host_, image.configImageSize = config_.size(), image.pConfigImage = config_.data();
  ORRERY_CUPTI_CALL(cuptiProfilerHostGetConfigImage, image);
}

std::vector<std::uint8_t> RangeCounters::new_image(CUpti_RangeProfiler_Object* profiler) const {
  auto names = metrics();
  auto size = ORRERY_CUPTI_PARAMS(CUpti_RangeProfiler_GetCounterDataSize_Params);
  size.pRangeProfilerObject = profiler, size.pMetricNames = names.data(), size.numMetrics = names.size();
  size.maxNumOfRanges = 1, size.maxNumRangeTreeNodes = 1;
  ORRERY_CUPTI_CALL(cuptiRangeProfilerGetCounterDataSize, size);
  std::vector<std::uint8_t> image(size.counterDataSize);
  auto fill = ORRERY_CUPTI_PARAMS(CUpti_RangeProfiler_CounterDataImage_Initialize_Params);
  fill.pRangeProfilerObject = profiler, fill.counterDataSize = image.size(), fill.pCounterData = image.data();
  ORRERY_CUPTI_CALL(cuptiRangeProfilerCounterDataImageInitialize, fill);
  return image;
}

void RangeCounters::run_passes(CUpti_RangeProfiler_Object* profiler, kernels::Instance& instance,
                               kernels::StreamRef stream) {
  auto start = ORRERY_CUPTI_PARAMS(CUpti_RangeProfiler_Start_Params);
  auto push = ORRERY_CUPTI_PARAMS(CUpti_RangeProfiler_PushRange_Params);
  auto pop = ORRERY_CUPTI_PARAMS(CUpti_RangeProfiler_PopRange_Params);
  auto stop = ORRERY_CUPTI_PARAMS(CUpti_RangeProfiler_Stop_Params);
  start.pRangeProfilerObject = push.pRangeProfilerObject = profiler;
  pop.pRangeProfilerObject = stop.pRangeProfilerObject = profiler;
  push.pRangeName = "launch";
  for (int pass = 0; stop.isAllPassSubmitted == 0; ++pass) {
    if (pass == kMostPasses) throw Refused("counting DRAM bytes takes too many passes");
    eviction_->enqueue(true, stream);
    kernels::synchronize_device();
    ORRERY_CUPTI_CALL(cuptiRangeProfilerStart, start);
    ORRERY_CUPTI_CALL(cuptiRangeProfilerPushRange, push);
    instance.launch(stream);
    kernels::synchronize_device();
    ORRERY_CUPTI_CALL(cuptiRangeProfilerPopRange, pop);
    ORRERY_CUPTI_CALL(cuptiRangeProfilerStop, stop);
  }
  auto decode = ORRERY_CUPTI_PARAMS(CUpti_RangeProfiler_DecodeData_Params);
  decode.pRangeProfilerObject = profiler;
  ORRERY_CUPTI_CALL(cuptiRangeProfilerDecodeData, decode);
}

double RangeCounters::sum_of(const std::vector<std::uint8_t>& image) const {
  auto names = metrics();
  std::array<double, 2> values{};
  auto p = ORRERY_CUPTI_PARAMS(CUpti_Profiler_Host_EvaluateToGpuValues_Params);
  p.pHostObject = host_, p.pCounterDataImage = image.data(), p.counterDataImageSize = image.size();
  p.rangeIndex = 0, p.ppMetricNames = names.data(), p.numMetrics = names.size(),
  p.pMetricValues = values.data();
  ORRERY_CUPTI_CALL(cuptiProfilerHostEvaluateToGpuValues, p);
  return values[0] + values[1];
}

double RangeCounters::counted(kernels::Instance& instance, kernels::StreamRef stream) {
  auto enable = ORRERY_CUPTI_PARAMS(CUpti_RangeProfiler_Enable_Params);
  enable.ctx = current_context();
  ORRERY_CUPTI_CALL(cuptiRangeProfilerEnable, enable);
  CUpti_RangeProfiler_Object* const profiler = enable.pRangeProfilerObject;
  auto disable = ORRERY_CUPTI_PARAMS(CUpti_RangeProfiler_Disable_Params);
  disable.pRangeProfilerObject = profiler;
  try {
    auto image = new_image(profiler);
    auto set = ORRERY_CUPTI_PARAMS(CUpti_RangeProfiler_SetConfig_Params);
    set.pRangeProfilerObject = profiler;
    set.configSize = config_.size(), set.pConfig = config_.data();
    set.counterDataImageSize = image.size(), set.pCounterDataImage = image.data();
    set.range = CUPTI_UserRange, set.replayMode = CUPTI_UserReplay;
    set.maxRangesPerPass = 1, set.numNestingLevels = 1, set.minNestingLevel = 1, set.targetNestingLevel = 1;
    ORRERY_CUPTI_CALL(cuptiRangeProfilerSetConfig, set);
    run_passes(profiler, instance, stream);
    ORRERY_CUPTI_CALL(cuptiRangeProfilerDisable, disable);
    return sum_of(image);
  } catch (const Refused&) {
    try {
      ORRERY_CUPTI_CALL(cuptiRangeProfilerDisable,
                        disable);  // what follows must be timed without the profiler
    } catch (const Refused&) {
    }
    throw;
  }
}

}  // namespace

std::unique_ptr<Counters> make_cupti_counters(std::shared_ptr<const CacheEviction> eviction) {
  return std::make_unique<RangeCounters>(std::move(eviction));
}

}  // namespace orrery::profile
