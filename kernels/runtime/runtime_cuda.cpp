#include <cuda_runtime.h>

#include "runtime/runtime.hpp"

namespace orrery::kernels {

void check_cuda(int code, const char* doing) {
  if (code == cudaSuccess) return;
  const auto error = static_cast<cudaError_t>(code);
  static_cast<void>(cudaGetLastError());  // what can be cleared is; a lost device stays lost
  const bool lost = error == cudaErrorIllegalAddress || error == cudaErrorLaunchFailure ||
                    error == cudaErrorECCUncorrectable || error == cudaErrorDevicesUnavailable ||
                    error == cudaErrorMisalignedAddress || error == cudaErrorHardwareStackError ||
                    error == cudaErrorIllegalInstruction || error == cudaErrorAssert ||
                    error == cudaErrorInvalidAddressSpace || error == cudaErrorInvalidPc ||
                    error == cudaErrorLaunchTimeout || error == cudaErrorUnknown;
  throw DeviceError(
      std::string(doing) + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")", code,
      error == cudaErrorMemoryAllocation, lost);
}

bool device_available(std::string* why) {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaSuccess && devices > 0) return true;
  static_cast<void>(cudaGetLastError());
  if (why != nullptr) {
    *why = error == cudaSuccess || error == cudaErrorNoDevice ? "no NVIDIA GPU is visible to this process"
           : error == cudaErrorInsufficientDriver
               ? "no NVIDIA driver is installed, or it is older than CUDA " +
                     std::to_string(CUDART_VERSION / 1000)
               : std::string("the GPU cannot be used: ") + cudaGetErrorString(error);
  }
  return false;
}

namespace {
DeviceInfo ask_device() {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "look for a GPU");
  cudaDeviceProp p{};
  check_cuda(cudaGetDeviceProperties(&p, device), "properties of the GPU");
  DeviceInfo info;
  info.name = p.name, info.sm_count = p.multiProcessorCount, info.cc_major = p.major, info.cc_minor = p.minor;
  info.l2_bytes = static_cast<std::size_t>(p.l2CacheSize), info.memory_bytes = p.totalGlobalMem;
  info.shared_bytes_per_block = p.sharedMemPerBlockOptin;
  check_cuda(cudaDriverGetVersion(&info.driver), "version of the driver");
  check_cuda(cudaRuntimeGetVersion(&info.runtime), "version of the runtime");
  return info;
}
}  // namespace

DeviceInfo device_info() {
  static const DeviceInfo info = ask_device();  // asking takes milliseconds, and every instance wants to know
  return info;
}

std::size_t free_device_bytes() {
  std::size_t left = 0, total = 0;
  check_cuda(cudaMemGetInfo(&left, &total), "free device memory");
  return left;
}

void* allocate_device(std::size_t bytes) {
  void* p = nullptr;
  check_cuda(cudaMalloc(&p, bytes), "allocation of device memory");
  return p;
}
void free_device(void* p) noexcept {
  cudaFree(p);
}
void* allocate_pinned(std::size_t bytes) {
  void* p = nullptr;
  check_cuda(cudaMallocHost(&p, bytes), "allocation of page-locked memory");
  return p;
}
void free_pinned(void* p) noexcept {
  cudaFreeHost(p);
}

void copy_async(void* to, const void* from, std::size_t bytes, StreamRef stream) {
  if (bytes > 0) check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "copy");
}
void fill_async(void* to, int byte, std::size_t bytes, StreamRef stream) {
  if (bytes > 0) check_cuda(cudaMemsetAsync(to, byte, bytes, stream), "fill");
}
void synchronize(StreamRef stream) {
  check_cuda(cudaStreamSynchronize(stream), "wait for a stream");
}
void synchronize_device() {
  check_cuda(cudaDeviceSynchronize(), "wait for the GPU");
}

Stream::Stream() {
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream");
}
Stream::~Stream() {
  cudaStreamDestroy(stream_);
}

Event::Event() {
  check_cuda(cudaEventCreate(&event_), "make an event");
}
Event::~Event() {
  cudaEventDestroy(event_);
}
void Event::record(StreamRef stream) {
  check_cuda(cudaEventRecord(event_, stream), "record an event");
}
void Event::wait() const {
  check_cuda(cudaEventSynchronize(event_), "wait for an event");
}
bool Event::done() const {
  const cudaError_t state = cudaEventQuery(event_);
  if (state == cudaErrorNotReady) return false;
  check_cuda(state, "ask an event");
  return true;
}
double Event::seconds_since(const Event& earlier) const {
  float ms = 0;
  check_cuda(cudaEventElapsedTime(&ms, earlier.event_, event_), "time between events");
  return static_cast<double>(ms) * 1e-3;
}
void Event::make_wait(StreamRef stream) const {
  check_cuda(cudaStreamWaitEvent(stream, event_, 0), "make a stream wait");
}

struct Graph::Impl {
  cudaGraphExec_t graph = nullptr;
};

Graph::Graph() = default;
Graph::Graph(const std::function<void(StreamRef)>& enqueue) : impl_(std::make_unique<Impl>()) {
  const Stream stream;
  check_cuda(cudaStreamBeginCapture(stream.ref(), cudaStreamCaptureModeThreadLocal),
             "begin to capture a graph");
  cudaGraph_t captured = nullptr;
  try {
    enqueue(stream.ref());
  } catch (...) {  // leaves the capture, which would forbid other calls
    if (cudaStreamEndCapture(stream.ref(), &captured) == cudaSuccess) cudaGraphDestroy(captured);
    static_cast<void>(cudaGetLastError());
    throw;
  }
  check_cuda(cudaStreamEndCapture(stream.ref(), &captured), "end the capture of a graph");
  const cudaError_t made = cudaGraphInstantiate(&impl_->graph, captured, 0);
  cudaGraphDestroy(captured);
  check_cuda(made, "make a graph");
}
Graph::~Graph() {
  if (impl_ && impl_->graph != nullptr) cudaGraphExecDestroy(impl_->graph);
}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}
void Graph::replay(StreamRef stream) const {
  check_cuda(cudaGraphLaunch(impl_->graph, stream), "replay a graph");
}

}  // namespace orrery::kernels
