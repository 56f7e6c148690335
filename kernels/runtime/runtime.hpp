#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

struct CUstream_st;
struct CUevent_st;

namespace orrery::kernels {

// Memory, streams, events and graphs of the device, for host code: one interface with two implementations,
// CUDA's runtime and the emulator, where everything happens at once and in order.

using StreamRef = ::CUstream_st*;  ///< a cudaStream_t; nullptr = the default stream

/// A CUDA call failed. `lost`: the device answers no more (the process must end); `out_of_memory`: it is
/// intact.
class DeviceError : public std::runtime_error {
 public:
  DeviceError(const std::string& what, int error, bool no_memory, bool device_lost)
      : std::runtime_error(what), code(error), out_of_memory(no_memory), lost(device_lost) {}
  int code;
  bool out_of_memory, lost;
};

/// Throws DeviceError naming `doing` unless `code` (a cudaError_t) is success.
void check_cuda(int code, const char* doing);

struct DeviceInfo {
  std::string name;
  int sm_count = 0, cc_major = 0, cc_minor = 0;
  std::size_t l2_bytes = 0, memory_bytes = 0, shared_bytes_per_block = 0;
  int driver = 0, runtime = 0;  ///< CUDA versions, 13000 = 13.0
  bool emulated = false;
};

/// Whether a device answers; otherwise `*why` (if given) is a sentence for people.
bool device_available(std::string* why = nullptr);
DeviceInfo device_info();  ///< Errors: DeviceError
std::size_t free_device_bytes();

void* allocate_device(std::size_t bytes);  ///< Errors: DeviceError
void free_device(void* p) noexcept;
void* allocate_pinned(std::size_t bytes);  ///< page-locked host memory
void free_pinned(void* p) noexcept;

/// Between any two of host and device (unified addressing); asynchronous when the host side is pinned.
void copy_async(void* to, const void* from, std::size_t bytes, StreamRef stream);
void fill_async(void* to, int byte, std::size_t bytes, StreamRef stream);
void synchronize(StreamRef stream);
void synchronize_device();

namespace detail {
struct FreeDevice {
  void operator()(void* p) const noexcept { free_device(p); }
};
struct FreePinned {
  void operator()(void* p) const noexcept { free_pinned(p); }
};
}  // namespace detail

/// `size()` elements of device memory, uninitialised.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(std::size_t n)
      : data_(n == 0 ? nullptr : static_cast<T*>(allocate_device(n * sizeof(T)))), size_(n) {}
  explicit DeviceArray(std::span<const T> values) : DeviceArray(values.size()) { upload(values); }

  T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }

  /// Blocking copies.
  void upload(std::span<const T> values) {
    copy_async(data(), values.data(), values.size_bytes(), nullptr);
    synchronize(nullptr);
  }
  std::vector<T> download() const {
    std::vector<T> out(size_);
    synchronize_device();
    copy_async(out.data(), data(), bytes(), nullptr);
    synchronize(nullptr);
    return out;
  }

 private:
  std::unique_ptr<T, detail::FreeDevice> data_;
  std::size_t size_ = 0;
};

/// `size()` elements of page-locked host memory, uninitialised.
template <class T>
class PinnedArray {
 public:
  PinnedArray() = default;
  explicit PinnedArray(std::size_t n)
      : data_(n == 0 ? nullptr : static_cast<T*>(allocate_pinned(n * sizeof(T)))), size_(n) {}
  T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }
  std::span<T> span() const { return {data(), size_}; }

 private:
  std::unique_ptr<T, detail::FreePinned> data_;
  std::size_t size_ = 0;
};

class Stream {
 public:
  Stream();  ///< non-blocking with respect to the default stream
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  StreamRef ref() const { return stream_; }

 private:
  StreamRef stream_ = nullptr;
};

class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(StreamRef stream);
  void wait() const;  ///< blocks the host
  bool done() const;
  double seconds_since(const Event& earlier) const;  ///< both recorded and done; 0 under the emulator
  void make_wait(StreamRef stream) const;            ///< the stream waits for it

 private:
  ::CUevent_st* event_ = nullptr;
};

/// Work captured once and replayed with one launch. Under the emulator the function is kept and called again.
class Graph {
 public:
  Graph();
  /// Captures what `enqueue` puts on the stream it is given; it must not synchronise or allocate.
  explicit Graph(const std::function<void(StreamRef)>& enqueue);
  ~Graph();
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;
  void replay(StreamRef stream) const;
  explicit operator bool() const { return static_cast<bool>(impl_); }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orrery::kernels
