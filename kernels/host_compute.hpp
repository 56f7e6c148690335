#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "device/numeric.cuh"

namespace orrery::kernels {

/// Threads that wait for work, one per core the process may use.
class HostPool {
 public:
  explicit HostPool(int threads = 0);  ///< 0 = all cores
  ~HostPool();
  HostPool(const HostPool&) = delete;
  HostPool& operator=(const HostPool&) = delete;
  int size() const { return static_cast<int>(threads_.size()) + 1; }
  /// Calls work(i) for i in [0, size()), the caller's thread among them, and returns when all are done.
  void run(const std::function<void(int)>& work);

 private:
  void serve(int index);
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int)>* work_ = nullptr;
  std::uint64_t round_ = 0;
  int left_ = 0;
  bool stop_ = false;
};

/// y[m][n] = sum over k of x[m][k] w[n][k]: fp32 activations, bf16 weights row by row; rows of w divided over
/// the pool.
void host_gemm(HostPool& pool, float* y, const float* x, const bf16* w, int m, int n, int k);

struct HostAttentionArgs {
  float* out = nullptr;      ///< [seqs][heads][head_dim]
  const float* q = nullptr;  ///< [seqs][heads][head_dim]
  const bf16* k = nullptr;   ///< [tokens][kv_heads][head_dim], sequences one after the other
  const bf16* v = nullptr;
  const std::int64_t* starts = nullptr;  ///< [seqs + 1]: first token of each sequence
  int seqs = 0, heads = 0, kv_heads = 0, head_dim = 0;
};
/// Softmax(q k / sqrt(head_dim)) v with one pass over the keys; (sequence, KV head) pairs divided over the
/// pool.
void host_attention_decode(HostPool& pool, const HostAttentionArgs& args);

}  // namespace orrery::kernels
