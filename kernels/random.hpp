#pragma once

#include <cstdint>
#include <vector>

#include "device/numeric.cuh"
#include "runtime/runtime.hpp"

namespace orrery::kernels {

// Random inputs, made on the device: a hash of (seed, index), so the same on every device and whatever the
// launch. Never zeros, which run faster than data and hide unwritten outputs.

/// n values uniform in [-scale, scale), rounded to T (float, bf16, fp16, fp8, int8). Enqueued on `stream`.
template <class T>
void fill_random(T* out, std::size_t n, std::uint64_t seed, float scale, StreamRef stream = nullptr);
/// The same, uniform in [low, high).
template <class T>
void fill_between(T* out, std::size_t n, std::uint64_t seed, float low, float high,
                  StreamRef stream = nullptr);
/// n random bytes (packed 4-bit weights).
void fill_random_bytes(std::uint8_t* out, std::size_t n, std::uint64_t seed, StreamRef stream = nullptr);

template <class T>
DeviceArray<T> random_array(std::size_t n, std::uint64_t seed, float scale = 1.0F) {
  DeviceArray<T> out(n);
  fill_random(out.data(), n, seed, scale);
  return out;
}

template <class T>
DeviceArray<T> random_between(std::size_t n, std::uint64_t seed, float low, float high) {
  DeviceArray<T> out(n);
  fill_between(out.data(), n, seed, low, high);
  return out;
}

/// A device array's values in double precision, and an array whose every byte is 0xFF (NaN in each floating
/// format).
template <class T>
std::vector<double> to_doubles(const DeviceArray<T>& array) {
  const auto values = array.download();
  std::vector<double> out;
  out.reserve(values.size());
  for (const T& v : values) out.push_back(static_cast<double>(to_float(v)));
  return out;
}
template <class T>
DeviceArray<T> poisoned_array(std::size_t n) {
  DeviceArray<T> out(n);
  fill_async(out.data(), 0xFF, out.bytes(), nullptr);
  return out;
}

}  // namespace orrery::kernels
