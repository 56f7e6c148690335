#pragma once

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "kv_layout.hpp"
#include "random.hpp"

namespace orrery::kernels {

// Paged caches with random contents, to measure and check attention on.

/// `seqs` lengths of `total` tokens together: equal (to one token), or `ragged`: from a tenth of the mean to
/// nearly twice, in random order.
inline std::vector<int> context_lengths(int seqs, std::int64_t total, bool ragged, std::uint64_t seed) {
  std::vector<int> lengths(static_cast<std::size_t>(seqs));
  const double mean = static_cast<double>(total) / seqs;
  std::int64_t left = total;
  for (int i = 0; i < seqs; ++i) {
    const double share = ragged && seqs > 1 ? 0.1 + 1.8 * i / (seqs - 1) : 1.0;
    const auto length =
        std::max<std::int64_t>(static_cast<std::int64_t>(mean * share), total >= seqs ? 1 : 0);
    lengths[static_cast<std::size_t>(i)] = static_cast<int>(std::min(length, left));
    left -= lengths[static_cast<std::size_t>(i)];
  }
  for (std::size_t i = 0; left > 0; i = (i + 1) % lengths.size(), --left) ++lengths[i];
  std::mt19937_64 random(seed);
  for (std::size_t i = lengths.size(); i > 1; --i) std::swap(lengths[i - 1], lengths[random() % i]);
  return lengths;
}

struct PagedCacheShape {
  int block_size = 16, kv_heads = 1, head_dim = 128;
  DType format = DType::bf16;
  bool values = true;  ///< false: K alone (latents that are the values too)
};

/// A cache that holds `contexts` tokens of each sequence, its blocks in random order in the pool.
class PagedCache {
 public:
  PagedCache(std::vector<int> contexts, const PagedCacheShape& shape, std::uint64_t seed)
      : contexts_(std::move(contexts)), shape_(shape) {
    lay_out(seed);
    with_kv_type(shape.format, [&](auto element) { fill<decltype(element)>(seed); });
    view_.table_stride = stride_, view_.block_size = shape.block_size;
    view_.kv_heads = shape.kv_heads, view_.head_dim = shape.head_dim, view_.format = shape.format;
    view_.block_table = table_.data();
  }

  const PagedKv& view() const { return view_; }  ///< device pointers
  const std::int32_t* device_contexts() const { return device_contexts_.data(); }
  const std::vector<int>& contexts() const { return contexts_; }
  int max_context() const { return *std::max_element(contexts_.begin(), contexts_.end()); }

  /// Bytes on the device of such a cache of `tokens` tokens (up to the rounding to blocks).
  static double bytes(double tokens, const PagedCacheShape& shape) {
    const bool scaled = shape.format == DType::int8 || shape.format == DType::int4;
    const double row = shape.head_dim * bytes_per_element(shape.format) + (scaled ? 4 : 0);
    return tokens * shape.kv_heads * row * (shape.values ? 2 : 1);
  }

  /// Fills what lies behind each context in its last block with NaN, which no kernel may let through.
  void poison_tails() {
    const auto table = table_.download();
    for (auto* bytes : {&k_, &v_}) poison(*bytes, view_bytes_per_token(), table);
    for (auto* scales : {&k_scales_, &v_scales_})
      poison(*scales, static_cast<std::size_t>(shape_.kv_heads), table);
  }

  /// The cache on the host, its elements as the numbers they stand for.
  class Host {
   public:
    explicit Host(const PagedCache& cache)
        : k_(cache.k_.download()),
          v_(cache.v_.download()),
          k_scales_(cache.k_scales_.download()),
          v_scales_(cache.v_scales_.download()),
          table_(cache.table_.download()),
          view_(cache.view_) {
      view_.k = k_.data(), view_.v = v_.data();
      view_.k_scales = k_scales_.data(), view_.v_scales = v_scales_.data();
      view_.block_table = table_.data();
    }
    double k(int seq, int position, int head, int i) const {
      return element(view_.k, view_.k_scales, view_.k_scale,
                     kv_row(view_, kv_token(view_, seq, position), head), i);
    }
    double v(int seq, int position, int head, int i) const {
      return element(view_.v, view_.v_scales, view_.v_scale,
                     kv_row(view_, kv_token(view_, seq, position), head), i);
    }

   private:
    double element(void* base, const float* scales, float scale, std::size_t row, int i) const {
      double value = 0;
      with_kv_type(view_.format, [&](auto zero) {
        using T = decltype(zero);
        const T* p = kv_address<T>(view_, base, row);
        if constexpr (std::is_same_v<T, int4x2>) {
          value = static_cast<double>(to_float(p[i / 2], i % 2));
        } else {
          value = static_cast<double>(to_float(p[i]));
        }
        value *= static_cast<double>(kScaledPerToken<T> ? scales[row] : scale);
      });
      return value;
    }
    std::vector<std::uint8_t> k_, v_;
    std::vector<float> k_scales_, v_scales_;
    std::vector<std::int32_t> table_;
    PagedKv view_;
  };

 private:
  void lay_out(std::uint64_t seed) {
    const auto blocks_of = [&](int length) { return ceil_div(std::max(length, 1), shape_.block_size); };
    int blocks = 0;
    for (const int length : contexts_)
      stride_ = std::max(stride_, blocks_of(length)), blocks += blocks_of(length);
    std::vector<std::int32_t> order(static_cast<std::size_t>(blocks));
    std::iota(order.begin(), order.end(), 0);
    std::mt19937_64 random(seed + 17);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    std::vector<std::int32_t> table(contexts_.size() * static_cast<std::size_t>(stride_), -1);
    std::size_t next = 0;
    for (std::size_t s = 0; s < contexts_.size(); ++s) {
      for (int i = 0; i < blocks_of(contexts_[s]); ++i)
        table[s * static_cast<std::size_t>(stride_) + static_cast<std::size_t>(i)] = order[next++];
    }
    table_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(table));
    device_contexts_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(contexts_));
    tokens_ = static_cast<std::size_t>(blocks) * static_cast<std::size_t>(shape_.block_size);
  }

  template <class T>
  void fill(std::uint64_t seed) {
    const std::size_t rows = tokens_ * static_cast<std::size_t>(shape_.kv_heads);
    const std::size_t bytes = rows * static_cast<std::size_t>(kv_bytes<T>(shape_.head_dim));
    k_ = DeviceArray<std::uint8_t>(bytes), v_ = DeviceArray<std::uint8_t>(shape_.values ? bytes : 0);
    for (auto* array : {&k_, &v_}) {
      ++seed;
      if constexpr (std::is_same_v<T, int4x2>) {
        fill_random_bytes(array->data(), array->size(), seed);
      } else {
        fill_random(reinterpret_cast<T*>(array->data()), array->size() / sizeof(T), seed,
                    std::is_same_v<T, std::int8_t> ? 127.0F : 1.0F);
      }
    }
    view_.k = k_.data(), view_.v = v_.data();
    if constexpr (std::is_same_v<T, fp8>) view_.k_scale = 0.75F, view_.v_scale = 1.5F;
    if constexpr (kScaledPerToken<T>) {
      k_scales_ = random_array<float>(rows, seed + 1, 1.5F / kKvLargest<T>);
      v_scales_ = random_array<float>(shape_.values ? rows : 0, seed + 2, 1.5F / kKvLargest<T>);
      view_.k_scales = k_scales_.data(), view_.v_scales = v_scales_.data();
    }
  }

  std::size_t view_bytes_per_token() const { return k_.size() / tokens_; }
  template <class E>
  void poison(DeviceArray<E>& array, std::size_t per_token, const std::vector<std::int32_t>& table) {
    if (array.size() == 0) return;
    for (std::size_t s = 0; s < contexts_.size(); ++s) {
      const int blocks = ceil_div(std::max(contexts_[s], 1), shape_.block_size),
                tail = blocks * shape_.block_size - contexts_[s];
      const auto last = static_cast<std::size_t>(
          table[s * static_cast<std::size_t>(stride_) + static_cast<std::size_t>(blocks - 1)]);
      const std::size_t end = (last + 1) * static_cast<std::size_t>(shape_.block_size),
                        first = end - static_cast<std::size_t>(tail);
      fill_async(array.data() + first * per_token, 0xFF, (end - first) * per_token * sizeof(E), nullptr);
    }
  }

  std::vector<int> contexts_;
  PagedCacheShape shape_;
  std::size_t tokens_ = 0;
  int stride_ = 1;
  DeviceArray<std::uint8_t> k_, v_;
  DeviceArray<float> k_scales_, v_scales_;
  DeviceArray<std::int32_t> table_, device_contexts_;
  PagedKv view_;
};

}  // namespace orrery::kernels
