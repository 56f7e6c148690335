#include <cstdlib>
#include <cstring>
#include <new>

#include "runtime/runtime.hpp"

// The device of the emulator: host memory, everything done at once. Compiled instead of runtime_cuda.cpp.

namespace orrery::kernels {

void check_cuda(int code, const char* doing) {
  if (code != 0) throw DeviceError(doing, code, false, false);
}

bool device_available(std::string* why) {
  if (why != nullptr) *why = "kernels run on the CPU's emulator here; nothing can be timed";
  return false;
}

DeviceInfo device_info() {
  DeviceInfo info;
  info.name = "emulator", info.sm_count = 4, info.cc_major = 9, info.cc_minor = 0;
  info.l2_bytes = std::size_t{1} << 20, info.memory_bytes = std::size_t{1} << 30;
  info.shared_bytes_per_block = 227 * 1024;
  info.emulated = true;
  return info;
}
std::size_t free_device_bytes() {
  return device_info().memory_bytes;
}

void* allocate_device(std::size_t bytes) {
  constexpr std::size_t alignment = 256;  // what cudaMalloc promises
  void* p = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (p == nullptr) throw DeviceError("allocation of " + std::to_string(bytes) + " bytes", 2, true, false);
  std::memset(p, 0xCD, bytes);
  return p;
}
void free_device(void* p) noexcept {
  std::free(p);
}
void* allocate_pinned(std::size_t bytes) {
  return allocate_device(bytes);
}
void free_pinned(void* p) noexcept {
  std::free(p);
}

void copy_async(void* to, const void* from, std::size_t bytes, StreamRef) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void fill_async(void* to, int byte, std::size_t bytes, StreamRef) {
  if (bytes > 0) std::memset(to, byte, bytes);
}
void synchronize(StreamRef) {}
void synchronize_device() {}

Stream::Stream() = default;
Stream::~Stream() = default;

Event::Event() = default;
Event::~Event() = default;
void Event::record(StreamRef) {}
void Event::wait() const {}
bool Event::done() const {
  return true;
}
double Event::seconds_since(const Event&) const {
  return 0;
}
void Event::make_wait(StreamRef) const {}

struct Graph::Impl {
  std::function<void(StreamRef)> enqueue;
};
Graph::Graph() = default;
Graph::Graph(const std::function<void(StreamRef)>& enqueue) : impl_(std::make_unique<Impl>(Impl{enqueue})) {}
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
void Graph::replay(StreamRef stream) const {
  impl_->enqueue(stream);
}

}  // namespace orrery::kernels
