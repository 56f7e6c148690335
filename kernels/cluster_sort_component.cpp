#include <algorithm>
#include <cmath>
#include <numeric>

#include "cluster_sort.hpp"
#include "component.hpp"
#include "ops/cluster_sort.hpp"
#include "ops/kernel_classes.hpp"
#include "random.hpp"

// The component of cluster_sort.cu.

namespace orrery::kernels {
namespace {

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

class ClusterInstance final : public Instance {
 public:
  explicit ClusterInstance(const Case& c) {
    const auto dim = [&](std::size_t i) { return static_cast<int>(c.call.dims[i]); };
    assign_.tokens = dim(0), assign_.vector_count = dim(2), assign_.head_dim = dim(3), assign_.heads = dim(4);
    assign_.opposites = c.variant == "lsh";
    const std::int64_t all = std::int64_t{assign_.tokens} * assign_.heads,
                       vectors = std::int64_t{assign_.vector_count} * assign_.heads;
    keys_ = random_array<bf16>(index(all * assign_.head_dim), c.seed);
    vectors_ = random_array<bf16>(index(vectors * assign_.head_dim), c.seed + 1);
    if (!assign_.opposites) {
      offsets_ = random_array<float>(index(vectors), c.seed + 2, 2.0F);
      assign_.offsets = offsets_.data();
    }
    buckets_ = poisoned_array<std::int32_t>(index(all)), order_ = poisoned_array<std::int32_t>(index(all));
    sorted_ = poisoned_array<std::int32_t>(index(all));
    workspace_ =
        poisoned_array<std::int32_t>(sort_by_bucket_workspace(assign_.tokens, assign_.heads, dim(1)));
    assign_.keys = keys_.data(), assign_.vectors = vectors_.data(), assign_.buckets = buckets_.data();
    sort_ = {buckets_.data(), order_.data(), sorted_.data(), workspace_.data(),
             assign_.tokens,  assign_.heads, dim(1)};
  }

  void launch(StreamRef stream) override {
    assign_buckets(assign_, stream);
    sort_by_bucket(sort_, stream);
  }

  /// The score of each key's bucket beside the best there is (two may be as near to rounding); the sort
  /// exactly.
  Check check() override {
    const auto buckets = buckets_.download(), order = order_.download(), sorted = sorted_.download();
    std::vector<double> out, reference;
    for (std::int64_t head = 0; head < assign_.heads; ++head) {
      const auto own = buckets.begin() + head * assign_.tokens;
      std::vector<std::int32_t> expected(index(assign_.tokens));
      std::iota(expected.begin(), expected.end(), 0);
      std::stable_sort(expected.begin(), expected.end(), [&](auto a, auto b) { return own[a] < own[b]; });
      for (int i = 0; i < assign_.tokens; ++i) {
        const std::size_t at = index(head * assign_.tokens + i);
        const auto token = expected[index(i)];
        if (order[at] != token || sorted[at] != own[token]) return {INFINITY, 1e-6};
      }
    }
    const auto keys = to_doubles(keys_), vectors = to_doubles(vectors_), offsets = to_doubles(offsets_);
    for (int head = 0; head < assign_.heads; ++head) {
      for (int token = 0; token < assign_.tokens; ++token) {
        const auto scores = scores_of(keys, vectors, offsets, token, head);
        const std::int32_t bucket = buckets[index(std::int64_t{head} * assign_.tokens + token)];
        if (bucket < 0 || index(bucket) >= scores.size()) return {INFINITY, 1e-6};
        out.push_back(scores[index(bucket)]);
        reference.push_back(*std::max_element(scores.begin(), scores.end()));
      }
    }
    return compare(out, reference, 1e-6);
  }

 private:
  std::vector<double> scores_of(const std::vector<double>& keys, const std::vector<double>& vectors,
                                const std::vector<double>& offsets, int token, int head) const {
    std::vector<double> scores;
    for (int v = 0; v < assign_.vector_count; ++v) {
      const std::int64_t vector = std::int64_t{head} * assign_.vector_count + v;
      double sum = offsets.empty() ? 0 : -offsets[index(vector)];
      for (int i = 0; i < assign_.head_dim; ++i)
        sum += keys[index((std::int64_t{token} * assign_.heads + head) * assign_.head_dim + i)] *
               vectors[index(vector * assign_.head_dim + i)];
      scores.push_back(sum);
    }
    for (int v = 0; assign_.opposites && v < assign_.vector_count; ++v) scores.push_back(-scores[index(v)]);
    return scores;
  }

  DeviceArray<bf16> keys_, vectors_;
  DeviceArray<float> offsets_;
  DeviceArray<std::int32_t> buckets_, order_, sorted_, workspace_;
  AssignBucketsArgs assign_;
  SortByBucketArgs sort_;
};

Case cluster_case(int tokens, int buckets, bool lsh, int head_dim, int heads) {
  Case c;
  const auto d = [](int x) { return static_cast<double>(x); };
  c.call =
      make_call(kClusterSort, {d(tokens), d(buckets), d(lsh ? buckets / 2 : buckets), d(head_dim), d(heads)},
                DType::bf16, DType::bf16);
  c.variant = lsh ? "lsh" : "kmeans";
  return c;
}

class ClusterSort final : public Component {
 public:
  std::string_view source() const override {
    return "Kitaev et al., Reformer, 2020, section 2; Liu et al., ClusterKV, 2024, section 3";
  }

  /// Buckets: of 64 tokens (Reformer's lengths of chunks), or a cluster to 80 tokens (ClusterKV).
  std::vector<Case> sweep(const DeviceInfo&) const override {
    struct Heads {
      int heads, head_dim;
    };
    std::vector<Case> cases;
    for (const Heads h : {Heads{8, 128}, {32, 128}, {1, 128}, {8, 64}, {4, 256}}) {
      for (const int tokens : {8192, 32768, 2048, 131072, 16384, 1024, 65536, 4096}) {
        cases.push_back(cluster_case(tokens, tokens / 64, true, h.head_dim, h.heads));
        cases.push_back(cluster_case(tokens, tokens / 80, false, h.head_dim, h.heads));
      }
    }
    for (const int buckets : {64, 256, 2048}) {
      for (const int tokens : {8192, 65536}) {
        cases.push_back(cluster_case(tokens, buckets, true, 128, 8));
        cases.push_back(cluster_case(tokens, buckets, false, 128, 8));
      }
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases;
    for (const bool lsh : {true, false}) {
      // Keys and vectors one below, at and above a tile and a step; every head size.
      for (const int tokens : {1, 63, 64, 65}) cases.push_back(cluster_case(tokens, 2, lsh, 64, 1));
      for (const int buckets : {32, 62, 64, 66}) cases.push_back(cluster_case(5, buckets, lsh, 64, 2));
      for (const int dim : {128, 256}) cases.push_back(cluster_case(20, 34, lsh, dim, 1));
      cases.push_back(cluster_case(10, 512, lsh, 64, 1)), cases.push_back(cluster_case(10, 514, lsh, 64, 1));
    }
    cases.push_back(cluster_case(3, 1, false, 64, 3));
    // Tiles of the sort, one below, at and above; with two digits.
    for (const int tokens : {2047, 2048, 2049}) cases.push_back(cluster_case(tokens, 2, true, 64, 1));
    cases.push_back(cluster_case(2100, 4, true, 64, 2)),
        cases.push_back(cluster_case(2060, 514, true, 64, 1));
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    if (call.cls != &kClusterSort || call.dtype != DType::bf16) return {};
    const auto dim = [&](std::size_t i) { return static_cast<int>(call.dims[i]); };
    const bool lsh = dim(2) * 2 == dim(1);
    const bool sizes = dim(3) == 64 || dim(3) == 128 || dim(3) == 256;
    if (!sizes || (!lsh && dim(2) != dim(1)) || dim(1) < 1 || dim(1) > kMaxBuckets || dim(0) < 1) return {};
    return {cluster_case(dim(0), dim(1), lsh, dim(3), dim(4))};
  }

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (device.cc_major < 8)
      return "asynchronous copies and bf16 tensor cores begin with compute capability 8.0";
    if (assign_buckets_shared_bytes(256) > device.shared_bytes_per_block) return "too little shared memory";
    const auto& d = c.call.dims;
    if ((d[0] + d[2]) * d[3] * d[4] * 2 + d[0] * d[4] * 24 > 0.8 * static_cast<double>(device.memory_bytes))
      return "needs more memory than the device has";
    return std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<ClusterInstance>(c);
  }
};

const ClusterSort component;

}  // namespace

const Registration<Components> cluster_sort_component{
    "cluster_sort", "keys put into buckets (LSH, k-means) and sorted by bucket", &component};

}  // namespace orrery::kernels
