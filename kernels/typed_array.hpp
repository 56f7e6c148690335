#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "ops/dtype.hpp"
#include "random.hpp"

namespace orrery::kernels {

/// Elements of matrices whose format is known at run time only.
enum class Element : std::uint8_t { bf16, fp16, fp8, int8, int32 };

constexpr Element element_of(DType format) {
  switch (format) {
    case DType::fp16:
      return Element::fp16;
    case DType::fp8:
      return Element::fp8;
    case DType::int8:
      return Element::int8;
    default:
      return Element::bf16;
  }
}
/// What a GEMM of operands in `format` writes.
constexpr Element output_of(DType format) {
  if (format == DType::int8) return Element::int32;
  return format == DType::fp16 ? Element::fp16 : Element::bf16;
}

/// Device memory of such elements.
class TypedArray {
 public:
  /// Uniform in [-1, 1), integers over their whole range.
  static TypedArray random(Element element, std::int64_t count, std::uint64_t seed) {
    TypedArray out(element, count);
    const auto fill = [&](auto sample, float scale) {
      fill_random(reinterpret_cast<decltype(sample)*>(out.bytes_.data()), out.count_, seed, scale);
    };
    if (element == Element::bf16) fill(bf16{}, 1);
    if (element == Element::fp16) fill(fp16{}, 1);
    if (element == Element::fp8) fill(fp8{}, 1);
    if (element == Element::int8) fill(std::int8_t{}, 127);
    return out;
  }
  static TypedArray poisoned(Element element, std::int64_t count) {
    TypedArray out(element, count);
    fill_async(out.bytes_.data(), 0xFF, out.bytes_.bytes(), nullptr);
    return out;
  }

  void* data() const { return bytes_.data(); }
  std::vector<double> doubles() const {
    const auto raw = bytes_.download();
    std::vector<double> out(count_);
    const auto read = [&](auto sample) {
      for (std::size_t i = 0; i < count_; ++i) {
        std::memcpy(&sample, raw.data() + i * sizeof sample, sizeof sample);
        if constexpr (std::is_same_v<decltype(sample), std::int32_t>) {
          out[i] = sample;
        } else {
          out[i] = static_cast<double>(to_float(sample));
        }
      }
    };
    if (element_ == Element::bf16) read(bf16{});
    if (element_ == Element::fp16) read(fp16{});
    if (element_ == Element::fp8) read(fp8{});
    if (element_ == Element::int8) read(std::int8_t{});
    if (element_ == Element::int32) read(std::int32_t{});
    return out;
  }

 private:
  TypedArray(Element element, std::int64_t count)
      : element_(element), count_(static_cast<std::size_t>(count)), bytes_(count_ * size(element)) {}
  static constexpr std::size_t size(Element e) {
    if (e == Element::int32) return 4;
    return e == Element::bf16 || e == Element::fp16 ? 2 : 1;
  }
  Element element_;
  std::size_t count_;
  DeviceArray<std::uint8_t> bytes_;
};

}  // namespace orrery::kernels
