#include "attention_prefill_instance.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "attention_prefill.hpp"
#include "random.hpp"

namespace orrery::kernels {
namespace {

std::size_t elements(std::int64_t a, std::int64_t b, std::int64_t c) {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
}

/// Where the keys of a batch lie: blocks of a paged cache in random order, or one sequence after another.
class KeyPlaces {
 public:
  KeyPlaces(const PrefillBatch& batch, std::int64_t block_size, std::uint64_t seed)
      : block_size_(block_size) {
    std::int64_t blocks = 0;
    for (const auto& chunk : batch.chunks) {
      const Tokens keys = chunk.past + chunk.new_tokens;
      first_key.push_back(static_cast<std::int32_t>(rows));
      if (block_size == 0) {
        rows += keys;
      } else {
        const std::int64_t own = ceil_div(keys, block_size);
        stride = std::max(stride, own), blocks += own, rows += own * block_size;
      }
    }
    if (block_size == 0) return;
    std::vector<std::int32_t> order(static_cast<std::size_t>(blocks));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
    auto next = order.begin();
    table.resize(batch.chunks.size() * static_cast<std::size_t>(stride), -1);
    for (std::size_t s = 0; s < batch.chunks.size(); ++s) {
      const std::int64_t own = ceil_div(batch.chunks[s].past + batch.chunks[s].new_tokens, block_size);
      for (std::int64_t i = 0; i < own; ++i)
        table[s * static_cast<std::size_t>(stride) + static_cast<std::size_t>(i)] = *next++;
    }
  }

  /// Row of K and V of a sequence's key.
  std::size_t operator()(std::size_t seq, std::int64_t key) const {
    if (block_size_ == 0) return static_cast<std::size_t>(first_key[seq] + key);
    const auto entry = seq * static_cast<std::size_t>(stride) + static_cast<std::size_t>(key / block_size_);
    return static_cast<std::size_t>(table[entry] * block_size_ + key % block_size_);
  }

  std::int64_t rows = 0, stride = 0;
  std::vector<std::int32_t> table, first_key;

 private:
  std::int64_t block_size_;
};

template <class T>
class PrefillInstance final : public Instance {
 public:
  PrefillInstance(const PrefillShape& shape, std::uint64_t seed)
      : shape_(shape),
        batch_(batch_of(shape)),
        places_(batch_, shape.block_size, seed),
        table_(std::span<const std::int32_t>(places_.table)),
        first_key_(std::span<const std::int32_t>(places_.first_key)),
        tree_(std::span<const std::uint64_t>(batch_.tree)),
        sparse_offsets_(std::span<const std::int32_t>(batch_.sparse_offsets)),
        sparse_blocks_(std::span<const std::int32_t>(batch_.sparse_blocks)),
        k_(random_array<T>(elements(places_.rows, shape.kv_heads, shape.head_dim), seed)),
        v_(random_array<T>(elements(places_.rows, shape.kv_heads, shape.head_dim), seed + 1)) {
    std::vector<std::int32_t> offsets{0}, past;
    for (const auto& chunk : batch_.chunks) {
      offsets.push_back(offsets.back() + static_cast<std::int32_t>(chunk.new_tokens));
      past.push_back(static_cast<std::int32_t>(chunk.past));
    }
    tokens_ = offsets.back();
    // Scores of some spread, as real ones have: uniform in [-1, 1) they would average all values out.
    q_ = random_array<T>(elements(tokens_, shape.heads, shape.head_dim), seed + 2, 4.0F);
    out_ = poisoned_array<T>(q_.size());
    offsets_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(offsets));
    past_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(past));
    fill_arguments();
  }

  void launch(StreamRef stream) override { attention_prefill(args_, stream); }

  Check check() override {
    const auto q = to_doubles(q_), k = to_doubles(k_), v = to_doubles(v_);
    std::vector<double> reference(q.size());
    std::int64_t token = 0;
    for (std::size_t seq = 0; seq < batch_.chunks.size(); ++seq) {
      for (Tokens i = 0; i < batch_.chunks[seq].new_tokens; ++i, ++token) {
        for (std::int64_t head = 0; head < shape_.heads; ++head) {
          const auto at = elements(token * shape_.heads + head, shape_.head_dim, 1);
          attend(&q[at], k, v, seq, head, i, &reference[at]);
        }
      }
    }
    // Output and probabilities are rounded to T: half a unit of the last place each.
    return compare(to_doubles(out_), reference, std::is_same_v<T, bf16> ? 8e-3 : 1e-3);
  }

 private:
  void fill_arguments() {
    args_.q = q_.data(), args_.out = out_.data();
    PagedKv& kv = args_.kv;
    kv.k = k_.data(), kv.v = v_.data();
    if (shape_.block_size > 0)
      kv.block_table = table_.data(), kv.block_size = static_cast<int>(shape_.block_size);
    kv.table_stride = static_cast<int>(places_.stride);
    kv.kv_heads = static_cast<int>(shape_.kv_heads), kv.head_dim = static_cast<int>(shape_.head_dim);
    kv.format = shape_.format;
    args_.query_offsets = offsets_.data(), args_.past = past_.data(), args_.key_offsets = first_key_.data();
    args_.seqs = static_cast<int>(shape_.seqs), args_.max_new_tokens = static_cast<int>(shape_.new_tokens);
    args_.heads = static_cast<int>(shape_.heads);
    args_.scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
    args_.block_queries =
        shape_.block_queries > 0
            ? static_cast<int>(shape_.block_queries)
            : prefill_block_queries(args_.seqs, args_.max_new_tokens, args_.heads, device_info().sm_count);
    args_.mask = batch_.mask;
    if (tree_.size() > 0) args_.mask.tree = tree_.data();
    args_.mask.sparse_offsets = sparse_offsets_.data(), args_.mask.sparse_blocks = sparse_blocks_.data();
  }

  /// One query and head: softmax over all keys it sees.
  void attend(const double* q, const std::vector<double>& k, const std::vector<double>& v, std::size_t seq,
              std::int64_t head, Tokens query, double* out) const {
    const auto dim = static_cast<std::size_t>(shape_.head_dim),
               kv_heads = static_cast<std::size_t>(shape_.kv_heads);
    const auto kv_head = static_cast<std::size_t>(head / (shape_.heads / shape_.kv_heads));
    const auto& chunk = batch_.chunks[seq];
    std::vector<double> weights;
    std::vector<std::size_t> rows;
    for (Tokens key = 0; key < chunk.past + chunk.new_tokens; ++key) {
      if (!batch_.sees(shape_.heads, static_cast<std::int64_t>(seq), head, query, key)) continue;
      rows.push_back((places_(seq, key) * kv_heads + kv_head) * dim);
      weights.push_back(std::inner_product(q, q + dim, &k[rows.back()], 0.0) *
                        static_cast<double>(args_.scale));
    }
    if (rows.empty()) return;
    const double top = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (double& w : weights) w = std::exp(w - top), sum += w;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      for (std::size_t d = 0; d < dim; ++d) out[d] += weights[i] / sum * v[rows[i] + d];
    }
  }

  PrefillShape shape_;
  PrefillBatch batch_;
  KeyPlaces places_;
  DeviceArray<std::int32_t> table_, first_key_;
  DeviceArray<std::uint64_t> tree_;
  DeviceArray<std::int32_t> sparse_offsets_, sparse_blocks_, offsets_, past_;
  DeviceArray<T> k_, v_, q_, out_;
  std::int64_t tokens_ = 0;
  AttentionPrefillArgs args_;
};

}  // namespace

std::unique_ptr<Instance> prefill_instance(const PrefillShape& shape, std::uint64_t seed) {
  if (shape.format == DType::fp16) return std::make_unique<PrefillInstance<fp16>>(shape, seed);
  return std::make_unique<PrefillInstance<bf16>>(shape, seed);
}

double prefill_instance_bytes(const PrefillShape& shape) {
  double queries = 0, keys = 0;
  for (std::int64_t i = 0; i < shape.seqs; ++i) {
    const double part =
        shape.ragged != 0 ? static_cast<double>(i + 1) / static_cast<double>(shape.seqs) : 1.0;
    queries += part * static_cast<double>(shape.new_tokens);
    keys += part * static_cast<double>(shape.new_tokens + shape.past) + static_cast<double>(shape.block_size);
  }
  return static_cast<double>(shape.head_dim) * bytes_per_element(shape.format) * 2 *
         (queries * static_cast<double>(shape.heads) + keys * static_cast<double>(shape.kv_heads));
}

}  // namespace orrery::kernels
