#include "host_compute.hpp"

#include <algorithm>
#include <cmath>

// Compiled for the widest vectors a processor has and chosen when the program starts.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define ORRERY_VECTOR_CLONES \
  __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3,fast-math")))
#else
#define ORRERY_VECTOR_CLONES
#endif

namespace orrery::kernels {

HostPool::HostPool(int threads) {
  const int wanted =
      threads > 0 ? threads : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  for (int i = 1; i < wanted; ++i) threads_.emplace_back([this, i] { serve(i); });
}

HostPool::~HostPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto& t : threads_) t.join();
}

void HostPool::serve(int index) {
  std::uint64_t seen = 0;
  for (;;) {
    const std::function<void(int)>* work = nullptr;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || round_ != seen; });
      if (stop_) return;
      seen = round_, work = work_;
    }
    (*work)(index);
    const std::lock_guard lock(mutex_);
    if (--left_ == 0) done_.notify_one();
  }
}

void HostPool::run(const std::function<void(int)>& work) {
  {
    const std::lock_guard lock(mutex_);
    work_ = &work, left_ = static_cast<int>(threads_.size()), ++round_;
  }
  wake_.notify_all();
  work(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return left_ == 0; });
}

namespace {

inline float widen(bf16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
  float f;
  __builtin_memcpy(&f, &bits, sizeof f);
  return f;
}

ORRERY_VECTOR_CLONES float dot(const float* x, const bf16* w, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i] * widen(w[i]);
  return sum;
}

/// out = out * scale + weight * v
ORRERY_VECTOR_CLONES void blend(float* out, float scale, float weight, const bf16* v, int n) {
  for (int i = 0; i < n; ++i) out[i] = out[i] * scale + weight * widen(v[i]);
}

/// One query head over a sequence's keys: online softmax (Milakov and Gimelshein, 2018).
void attend(const HostAttentionArgs& a, int seq, int head) {
  const auto dim = static_cast<std::size_t>(a.head_dim);
  const int kv_head = head / (a.heads / a.kv_heads);
  const float* q = a.q + (static_cast<std::size_t>(seq) * static_cast<std::size_t>(a.heads) +
                          static_cast<std::size_t>(head)) *
                             dim;
  float* out = a.out + (q - a.q);
  std::fill(out, out + dim, 0.0F);
  float largest = -INFINITY, sum = 0;
  const float scale = 1.0F / std::sqrt(static_cast<float>(a.head_dim));
  for (std::int64_t token = a.starts[seq]; token < a.starts[seq + 1]; ++token) {
    const std::size_t row = (static_cast<std::size_t>(token) * static_cast<std::size_t>(a.kv_heads) +
                             static_cast<std::size_t>(kv_head)) *
                            dim;
    const float score = dot(q, a.k + row, a.head_dim) * scale;
    const float top = std::max(largest, score);
    const float shrink = largest == top ? 1.0F : std::exp(largest - top), weight = std::exp(score - top);
    blend(out, shrink, weight, a.v + row, a.head_dim);
    sum = sum * shrink + weight, largest = top;
  }
  for (std::size_t i = 0; i < dim; ++i) out[i] /= sum;
}

}  // namespace

void host_gemm(HostPool& pool, float* y, const float* x, const bf16* w, int m, int n, int k) {
  pool.run([&](int part) {
    const auto at = [&](int p) { return static_cast<int>(static_cast<std::int64_t>(n) * p / pool.size()); };
    for (int column = at(part); column < at(part + 1); ++column) {
      const bf16* row = w + static_cast<std::size_t>(column) * static_cast<std::size_t>(k);
      for (int i = 0; i < m; ++i) {
        y[static_cast<std::size_t>(i) * static_cast<std::size_t>(n) + static_cast<std::size_t>(column)] =
            dot(x + static_cast<std::size_t>(i) * static_cast<std::size_t>(k), row, k);
      }
    }
  });
}

void host_attention_decode(HostPool& pool, const HostAttentionArgs& args) {
  const int group = args.heads / args.kv_heads, units = args.seqs * args.kv_heads;
  pool.run([&](int part) {
    for (int unit = part; unit < units; unit += pool.size()) {
      for (int i = 0; i < group; ++i) attend(args, unit / args.kv_heads, unit % args.kv_heads * group + i);
    }
  });
}

}  // namespace orrery::kernels
