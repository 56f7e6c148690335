#include "block_sparse_select_instance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "attention_decode.hpp"
#include "attention_reference.hpp"
#include "block_sparse_select.hpp"
#include "ops/block_select.hpp"
#include "paged_cache.hpp"

namespace orrery::kernels {
namespace {

using Indices = std::vector<std::int32_t>;
constexpr double kInfinite = std::numeric_limits<double>::infinity();

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}
template <class T>
DeviceArray<T> poisoned(std::int64_t a, std::int64_t b = 1, std::int64_t c = 1) {
  return poisoned_array<T>(index(a * b * c));
}

BlockScore score_of(const Case& c) {
  if (c.variant == "bounds") return BlockScore::bounds;
  return c.variant == "compressed" ? BlockScore::compressed : BlockScore::mean;
}

/// Chooses blocks of a cache whose summaries it has made.
class SelectInstance final : public Instance {
 public:
  explicit SelectInstance(const Case& c)
      : cache_(contexts(c), shape(c), c.seed), heads_(static_cast<int>(c.call.dims[2])) {
    cache_.poison_tails();
    const PagedKv& kv = cache_.view();
    const auto seqs = static_cast<std::int64_t>(cache_.contexts().size());
    q_ = random_array<bf16>(index(seqs * heads_ * kv.head_dim), c.seed + 7, 2.0F);
    args_.q = q_.data(), args_.kv = kv, args_.contexts = cache_.device_contexts();
    args_.seqs = static_cast<int>(seqs), args_.heads = heads_, args_.score = score_of(c);
    args_.selected = static_cast<int>(c.call.dims[5]),
    args_.scale = 1 / std::sqrt(static_cast<float>(kv.head_dim));
    args_.keep_first = static_cast<int>(c.option("keep_first", 0));
    args_.keep_last = static_cast<int>(c.option("keep_last", 1));
    std::int64_t blocks = 0;
    for (const int context : cache_.contexts()) blocks += ceil_div(std::max(context, 1), kv.block_size);
    summaries_ = poisoned<bf16>(blocks * kv.kv_heads, summary_vectors(args_.score), kv.head_dim);
    summarise_blocks({kv, summaries_.data(), blocks, args_.score}, nullptr);
    scores_ = poisoned<float>(seqs, kv.kv_heads, kv.table_stride);
    if (args_.score == BlockScore::compressed) head_scores_ = poisoned<float>(seqs, heads_, kv.table_stride);
    chosen_ = poisoned<std::int32_t>(seqs, kv.kv_heads, args_.selected);
    rows_ = poisoned<std::int32_t>(seqs, kv.kv_heads, std::int64_t{args_.selected} * kv.block_size);
    lengths_ = poisoned<std::int32_t>(seqs, kv.kv_heads);
    args_.summaries = summaries_.data(), args_.scores = scores_.data(),
    args_.head_scores = head_scores_.data();
    args_.chosen = chosen_.data(), args_.rows = rows_.data(), args_.lengths = lengths_.data();
  }

  void launch(StreamRef stream) override { select_blocks(args_, stream); }

  /// The scores by their values, the choice that they imply exactly.
  Check check() override {
    constexpr double tolerance = 8e-3;
    const PagedCache::Host cache(cache_);
    const auto scores = to_doubles(scores_);
    const Indices chosen = chosen_.download(), rows = rows_.download(), lengths = lengths_.download();
    std::vector<double> out, reference;
    for (int seq = 0; seq < args_.seqs; ++seq) {
      const int context = cache_.contexts()[index(seq)], full = context / args_.kv.block_size;
      for (int head = 0; head < args_.kv.kv_heads; ++head) {
        const std::int64_t own = std::int64_t{seq} * args_.kv.kv_heads + head;
        const double* const row = &scores[index(own * args_.kv.table_stride)];
        out.insert(out.end(), row, row + full);
        append_scores(reference, cache, seq, head, full);
        const Indices wanted = choice(row, context);
        const auto first = chosen.begin() + own * args_.selected;
        if (!std::equal(wanted.begin(), wanted.end(), first)) return {kInfinite, tolerance};
        if (std::any_of(first + static_cast<std::ptrdiff_t>(wanted.size()), first + args_.selected,
                        [](std::int32_t block) { return block != -1; }))
          return {kInfinite, tolerance};
        if (!check_rows(wanted, seq, head, &rows[index(own * args_.selected * args_.kv.block_size)],
                        lengths[index(own)]))
          return {kInfinite, tolerance};
      }
    }
    return compare(out, reference, tolerance);
  }

 private:
  static std::vector<int> contexts(const Case& c) {
    const int size = static_cast<int>(c.option("block_size", 64));
    auto all = context_lengths(static_cast<int>(c.call.dims[0]), static_cast<std::int64_t>(c.call.dims[1]),
                               c.option("ragged", 0) != 0, c.seed);
    for (int& blocks : all) blocks = std::max(blocks * size - static_cast<int>(c.option("unfinished", 0)), 0);
    if (c.option("idle", 0) != 0) all.push_back(0);
    return all;
  }
  static PagedCacheShape shape(const Case& c) {
    return {static_cast<int>(c.option("block_size", 64)), static_cast<int>(c.call.dims[3]),
            static_cast<int>(c.call.dims[4]), DType::bf16, false};
  }

  double head_score(const std::vector<double>& q, const PagedCache::Host& cache, int seq, int kv_head,
                    int head, int block) const {
    const int size = args_.kv.block_size, dim = args_.kv.head_dim;
    double score = 0;
    for (int i = 0; i < dim; ++i) {
      const double x = q[index((std::int64_t{seq} * heads_ + head) * dim + i)];
      double sum = 0, least = kInfinite, most = -kInfinite;
      for (int t = block * size; t < (block + 1) * size; ++t) {
        const double k = cache.k(seq, t, kv_head, i);
        sum += k, least = std::min(least, k), most = std::max(most, k);
      }
      score += args_.score == BlockScore::bounds ? std::max(x * least, x * most) : x * sum / size;
    }
    return score;
  }
  void append_scores(std::vector<double>& out, const PagedCache::Host& cache, int seq, int kv_head,
                     int full) const {
    const auto q = to_doubles(q_);
    const int group = heads_ / args_.kv.kv_heads;
    const bool softmax = args_.score == BlockScore::compressed;
    std::vector<double> total(index(full), softmax ? 0 : -kInfinite);
    for (int h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      std::vector<double> own;
      double sum = 0;
      for (int b = 0; b < full; ++b) {
        own.push_back(head_score(q, cache, seq, kv_head, h, b));
        if (softmax) sum += own.back() = std::exp(own.back() * static_cast<double>(args_.scale));
      }
      for (std::size_t b = 0; b < own.size(); ++b)
        total[b] = softmax ? total[b] + own[b] / sum : std::max(total[b], own[b]);
    }
    out.insert(out.end(), total.begin(), total.end());
  }

  /// By sorting: kept blocks first, then by score, then by number.
  Indices choice(const double* scores, int context) const {
    const int full = context / args_.kv.block_size, blocks = ceil_div(context, args_.kv.block_size);
    Indices order(index(blocks));
    std::iota(order.begin(), order.end(), 0);
    const auto value = [&](int b) {
      const bool kept = b < args_.keep_first || b >= blocks - args_.keep_last || b >= full;
      return kept ? kInfinite : scores[b];
    };
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return value(a) > value(b); });
    order.resize(index(std::min(blocks, args_.selected)));
    std::sort(order.begin(), order.end());
    return order;
  }
  bool check_rows(const Indices& blocks, int seq, int head, const std::int32_t* rows, int length) const {
    PagedKv kv = cache_.view();
    const Indices table = download_table();
    kv.block_table = table.data();
    Indices wanted;
    for (const std::int32_t block : blocks) {
      for (int t = block * kv.block_size; t < (block + 1) * kv.block_size; ++t) {
        if (t < cache_.contexts()[index(seq)])
          wanted.push_back(static_cast<std::int32_t>(kv_row(kv, kv_token(kv, seq, t), head)));
      }
    }
    return static_cast<int>(wanted.size()) == length && std::equal(wanted.begin(), wanted.end(), rows);
  }
  Indices download_table() const {
    Indices table(cache_.contexts().size() * index(cache_.view().table_stride));
    copy_async(table.data(), cache_.view().block_table, table.size() * sizeof table[0], nullptr);
    synchronize(nullptr);
    return table;
  }

  PagedCache cache_;
  int heads_;
  DeviceArray<bf16> q_, summaries_;
  DeviceArray<float> scores_, head_scores_;
  DeviceArray<std::int32_t> chosen_, rows_, lengths_;
  SelectBlocksArgs args_;
};

/// Attends to blocks chosen at random, and the last, of sequences `spread` times as long.
class AttendInstance final : public Instance {
 public:
  explicit AttendInstance(const Case& c)
      : lengths_(context_lengths(static_cast<int>(c.call.dims[0]), static_cast<std::int64_t>(c.call.dims[1]),
                                 c.option("ragged", 0) != 0, c.seed)),
        cache_(contexts(c, lengths_), shape(c), c.seed) {
    cache_.poison_tails();
    const PagedKv& kv = cache_.view();
    const auto seqs = static_cast<std::int64_t>(lengths_.size());
    args_.seqs = static_cast<int>(seqs), args_.heads = static_cast<int>(c.call.dims[2]), args_.kv = kv;
    args_.stride = *std::max_element(lengths_.begin(), lengths_.end());
    args_.scale = 1 / std::sqrt(static_cast<float>(kv.head_dim));
    choose(c);
    q_ = random_array<bf16>(index(seqs * args_.heads * kv.head_dim), c.seed + 7, 3.0F);
    out_ = poisoned<bf16>(seqs, args_.heads, kv.head_dim);
    const int streams = args_.seqs * kv.kv_heads, group = args_.heads / kv.kv_heads;
    args_.splits = static_cast<int>(c.option("splits", 0));
    if (args_.splits == 0)
      args_.splits = attention_decode_splits(streams, group, 1, args_.stride, device_info().sm_count);
    workspace_ = poisoned<float>(
        static_cast<std::int64_t>(attention_decode_workspace(streams, group, kv.head_dim, args_.splits)));
    args_.q = q_.data(), args_.out = out_.data(), args_.workspace = workspace_.data();
  }

  void launch(StreamRef stream) override { attention_selected(args_, stream); }

  Check check() override {
    const auto q = to_doubles(q_);
    const PagedCache::Host cache(cache_);
    const int dim = args_.kv.head_dim, group = args_.heads / args_.kv.kv_heads;
    std::vector<double> expected;
    for (int seq = 0; seq < args_.seqs; ++seq) {
      for (int head = 0; head < args_.heads; ++head) {
        const Indices& tokens = tokens_[index(seq * args_.kv.kv_heads + head / group)];
        const double* row = &q[index((std::int64_t{seq} * args_.heads + head) * dim)];
        append_attention(
            expected, {row, index(dim)}, dim, {0, static_cast<int>(tokens.size())},
            static_cast<double>(args_.scale),
            [&](int key, int i) { return cache.k(seq, tokens[index(key)], head / group, i); },
            [&](int key, int i) { return cache.v(seq, tokens[index(key)], head / group, i); });
      }
    }
    return compare(to_doubles(out_), expected, 8e-3);
  }

 private:
  static int block_size(const Case& c) { return static_cast<int>(c.option("block_size", 64)); }
  static PagedCacheShape shape(const Case& c) {
    return {block_size(c), static_cast<int>(c.call.dims[3]), static_cast<int>(c.call.dims[4]),
            c.call.weight_dtype, true};
  }
  /// Lengths whose last block holds as many tokens as that of what is read.
  static std::vector<int> contexts(const Case& c, std::vector<int> lengths) {
    const int size = block_size(c), spread = static_cast<int>(c.option("spread", 8));
    for (int& length : lengths) length += ceil_div(length, size) * (spread - 1) * size;
    return lengths;
  }

  void choose(const Case& c) {
    PagedKv kv = cache_.view();
    Indices table(lengths_.size() * index(kv.table_stride));
    copy_async(table.data(), kv.block_table, table.size() * sizeof table[0], nullptr);
    synchronize(nullptr);
    kv.block_table = table.data();
    std::mt19937_64 random(c.seed + 5);
    Indices rows(lengths_.size() * index(kv.kv_heads) * index(args_.stride), -1), counts;
    for (int seq = 0; seq < args_.seqs; ++seq) {
      const int blocks = ceil_div(cache_.contexts()[index(seq)], kv.block_size);
      Indices all(index(blocks - 1)), chosen;
      std::iota(all.begin(), all.end(), 0);
      for (int head = 0; head < kv.kv_heads; ++head) {
        chosen.clear();
        std::sample(all.begin(), all.end(), std::back_inserter(chosen),
                    ceil_div(lengths_[index(seq)], kv.block_size) - 1, random);
        chosen.push_back(blocks - 1);
        Indices tokens;
        for (const std::int32_t b : chosen) {
          const int end = std::min((b + 1) * kv.block_size, cache_.contexts()[index(seq)]);
          for (int t = b * kv.block_size; t < end; ++t) tokens.push_back(t);
        }
        const std::size_t at = (index(seq) * index(kv.kv_heads) + index(head)) * index(args_.stride);
        for (std::size_t i = 0; i < tokens.size(); ++i)
          rows[at + i] = static_cast<std::int32_t>(kv_row(kv, kv_token(kv, seq, tokens[i]), head));
        counts.push_back(static_cast<std::int32_t>(tokens.size()));
        tokens_.push_back(std::move(tokens));
      }
    }
    rows_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(rows));
    counts_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(counts));
    args_.rows = rows_.data(), args_.lengths = counts_.data();
  }

  std::vector<int> lengths_;  ///< tokens read of each sequence
  PagedCache cache_;
  std::vector<Indices> tokens_;  ///< of each sequence and KV head
  DeviceArray<std::int32_t> rows_, counts_;
  DeviceArray<bf16> q_, out_;
  DeviceArray<float> workspace_;
  AttentionSelectedArgs args_;
};

}  // namespace

std::unique_ptr<Instance> make_block_sparse_select(const Case& c) {
  if (c.call.cls == &kBlockSelect) return std::make_unique<SelectInstance>(c);
  return std::make_unique<AttendInstance>(c);
}

}  // namespace orrery::kernels
