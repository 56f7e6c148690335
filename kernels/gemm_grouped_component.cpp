#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "component.hpp"
#include "gemm_grouped.hpp"
#include "gemm_shapes.hpp"
#include "ops/kernel_classes.hpp"
#include "ops/moe.hpp"
#include "random.hpp"
#include "typed_array.hpp"

// The component of gemm_grouped.cu.

namespace orrery::kernels {
namespace {

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// Chances with which tokens choose experts: equal, or falling as rank^-(zipf / 100).
std::vector<double> chances(int experts, std::int64_t zipf) {
  std::vector<double> weights;
  for (int e = 0; e < experts; ++e) weights.push_back(std::pow(e + 1.0, -static_cast<double>(zipf) / 100));
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& w : weights) w /= sum;
  return weights;
}

/// Rows of each expert: `active` of them, in random places, get one at least; the others fall by chance.
std::vector<std::int32_t> row_counts(const Case& c) {
  const auto rows = static_cast<std::int64_t>(c.call.dims[0]);
  const auto experts = static_cast<int>(c.call.dims[3]), active = static_cast<int>(c.call.dims[4]);
  std::mt19937_64 random(c.seed);
  std::vector<int> places(index(experts));
  std::iota(places.begin(), places.end(), 0);
  for (std::size_t i = places.size(); i > 1; --i) std::swap(places[i - 1], places[random() % i]);
  auto running = chances(active, c.option("zipf", 0));
  std::partial_sum(running.begin(), running.end(), running.begin());
  std::vector<std::int32_t> counts(index(experts), 0);
  for (std::int64_t r = 0; r < rows; ++r) {
    const double u = static_cast<double>(random() >> 11) * 0x1p-53;
    const auto drawn = std::lower_bound(running.begin(), running.end() - 1, u) - running.begin();
    ++counts[index(places[index(r < active ? r : drawn)])];
  }
  return counts;
}

class GroupedInstance final : public Instance {
 public:
  explicit GroupedInstance(const Case& c)
      : workspace_(static_cast<int>(c.option("sm_count", device_info().sm_count))),
        counts_(row_counts(c)),
        starts_(row_starts(counts_, c.option("alignment", 1))),
        x_(TypedArray::random(element_of(c.call.dtype), stored_rows(c) * size(c, 2), c.seed)),
        w_(TypedArray::random(element_of(c.call.dtype), size(c, 3) * size(c, 1) * size(c, 2), c.seed + 1)) {
    args_.rows = size(c, 0), args_.n = static_cast<int>(size(c, 1)), args_.k = static_cast<int>(size(c, 2));
    args_.experts = static_cast<int>(size(c, 3)), args_.format = c.call.dtype;
    const std::int64_t next = stored_rows(c);
    count_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(counts_));
    start_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(starts_));
    if (c.option("gather", 0) != 0) {
      std::mt19937_64 random(c.seed + 3);
      for (std::int64_t r = 0; r < next; ++r)
        tokens_.push_back(static_cast<std::int32_t>(random() % index(next)));
      token_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(tokens_));
      args_.token = token_.data();
    }
    if (args_.format == DType::fp8) {
      x_scale_ = random_array<float>(index(next), c.seed + 4);
      w_scale_ = random_array<float>(index(std::int64_t{args_.experts} * args_.n), c.seed + 5);
      args_.x_scale = x_scale_.data(), args_.w_scale = w_scale_.data();
    }
    y_ = poisoned_array<bf16>(index(next * args_.n));
    args_.x = x_.data(), args_.w = w_.data(), args_.y = y_.data();
    args_.start = start_.data(), args_.count = count_.data();
  }

  void launch(StreamRef stream) override { gemm_grouped(args_, workspace_, stream); }

  /// All rows of experts; those between stay unwritten.
  Check check() override {
    const auto x = x_.doubles(), w = w_.doubles(), y = to_doubles(y_);
    const auto x_scale = to_doubles(x_scale_), w_scale = to_doubles(w_scale_);
    std::vector<double> out, reference;
    std::vector<bool> written(y.size(), false);
    for (int e = 0; e < args_.experts; ++e) {
      for (std::int64_t r = starts_[index(e)]; r < starts_[index(e)] + counts_[index(e)]; ++r) {
        const std::int64_t from = tokens_.empty() ? r : tokens_[index(r)];
        for (std::int64_t j = 0; j < args_.n; ++j) {
          double sum = 0;
          for (std::int64_t i = 0; i < args_.k; ++i)
            sum += x[index(from * args_.k + i)] * w[index((std::int64_t{e} * args_.n + j) * args_.k + i)];
          if (!x_scale.empty()) sum *= x_scale[index(from)] * w_scale[index(std::int64_t{e} * args_.n + j)];
          const std::size_t at = index(r * args_.n + j);
          written[at] = true, reference.push_back(sum), out.push_back(y[at]);
        }
      }
    }
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (!written[i] && !std::isnan(y[i])) return {INFINITY, 0};
    }
    return compare(out, reference, 8e-3);
  }

 private:
  static std::int64_t size(const Case& c, std::size_t dim) {
    return static_cast<std::int64_t>(c.call.dims[dim]);
  }
  static std::vector<std::int32_t> row_starts(const std::vector<std::int32_t>& counts,
                                              std::int64_t alignment) {
    std::vector<std::int32_t> starts;
    std::int64_t next = 0;
    for (const std::int32_t count : counts) {
      starts.push_back(static_cast<std::int32_t>(next));
      next += ceil_div<std::int64_t>(count, alignment) * alignment;
    }
    return starts;
  }
  std::int64_t stored_rows(const Case& c) const {
    const std::int64_t alignment = c.option("alignment", 1);
    return starts_.back() + ceil_div<std::int64_t>(counts_.back(), alignment) * alignment;
  }

  GroupedGemmWorkspace workspace_;
  std::vector<std::int32_t> counts_, starts_, tokens_;
  DeviceArray<std::int32_t> count_, start_, token_;
  TypedArray x_, w_;
  DeviceArray<float> x_scale_, w_scale_;
  DeviceArray<bf16> y_;
  GroupedGemmArgs args_;
};

using Options = std::map<std::string, std::int64_t>;

Case grouped_case(std::int64_t rows, WeightShape w, int experts, int active, DType format,
                  Options with = {}) {
  Case c;
  const auto d = [](auto x) { return static_cast<double>(x); };
  c.call = make_call(kGroupedGemm, {d(rows), d(w.n), d(w.k), d(experts), d(active)}, format, format);
  c.variant = "persistent";
  c.with = std::move(with);
  return c;
}

/// The experts of a layer as one rank holds them: `experts` of `all`, of which a token chooses top_k.
struct ExpertLayer {
  int hidden, width, experts, all, top_k;
};

/// Of catalogued models: Qwen3-30B-A3B, Mixtral-8x7B, DeepSeek-V3 (its experts over 8 ranks), gpt-oss-120b
/// and -20b, Qwen3-235B-A22B (over 4), DeepSeek-V2-Lite, Llama-4-Scout; then Mixtral and Qwen3 split within
/// experts by 2, 4 and 8, DeepSeek-V3 over 16 ranks, and two small ones between.
constexpr ExpertLayer kLayers[] = {
    {2048, 768, 128, 128, 8}, {4096, 14336, 8, 8, 2},    {7168, 2048, 32, 256, 8}, {2880, 2880, 128, 128, 4},
    {2880, 2880, 32, 32, 4},  {4096, 1536, 32, 128, 8},  {2048, 1408, 64, 64, 6},  {5120, 8192, 16, 16, 1},
    {4096, 7168, 8, 8, 2},    {4096, 1792, 8, 8, 2},     {2048, 384, 128, 128, 8}, {4096, 3584, 8, 8, 2},
    {7168, 2048, 16, 256, 8}, {4096, 1536, 128, 128, 8}, {1024, 1024, 16, 16, 2},  {2048, 512, 64, 64, 8},
    {6144, 16384, 8, 8, 2}};

/// One expert layer at a number of tokens: rows and experts hit that are expected, for gate and up, and down.
void add_layer(std::vector<Case>& cases, const ExpertLayer& layer, std::int64_t tokens, std::int64_t zipf = 0,
               DType format = DType::bf16) {
  const double share = static_cast<double>(layer.experts) / layer.all;
  const double choices = static_cast<double>(tokens * layer.top_k);
  const auto rows = static_cast<std::int64_t>(std::llround(choices * share));
  if (rows == 0) return;
  double active = expected_active_experts(static_cast<double>(tokens), layer.all, layer.top_k) * share;
  if (zipf > 0) {
    active = 0;
    for (const double p : chances(layer.experts, zipf))
      active += 1 - std::pow(1 - p, static_cast<double>(rows));
  }
  const std::int64_t hit =
      std::clamp<std::int64_t>(std::llround(active), 1, std::min<std::int64_t>(layer.experts, rows));
  const Options with = zipf > 0 ? Options{{"zipf", zipf}} : Options{};
  for (const WeightShape w :
       {WeightShape{2 * layer.width, layer.hidden}, WeightShape{layer.hidden, layer.width}})
    cases.push_back(grouped_case(rows, w, layer.experts, static_cast<int>(hit), format, with));
}

class GemmGrouped final : public Component {
 public:
  std::string_view source() const override { return "Gale et al., MegaBlocks, 2023, section 5"; }

  std::vector<Case> sweep(const DeviceInfo&) const override {
    constexpr std::int64_t ladder[] = {64, 1, 2048, 256, 16, 8192, 512, 4, 128, 1024, 32, 4096, 8, 2};
    constexpr std::size_t whole = 4;  // layers that get all of it; the others get every third, in turn
    std::vector<Case> cases;
    for (std::size_t l = 0; l < std::size(kLayers); ++l) {
      for (std::size_t i = 0; i < std::size(ladder); ++i) {
        if (l < whole || (i + l) % 3 == 0) add_layer(cases, kLayers[l], ladder[i]);
      }
    }
    for (const std::size_t l : {0U, 1U, 2U, 3U}) {
      for (const std::int64_t tokens : {64, 512, 4096}) add_layer(cases, kLayers[l], tokens, 100);
    }
    for (const std::size_t l : {0U, 1U, 2U}) {
      for (const std::int64_t tokens : {64, 2048, 256, 1, 8192, 16, 1024})
        add_layer(cases, kLayers[l], tokens, 0, DType::fp8);
    }
    return cases;
  }

  std::vector<Case> checks() const override {
    std::vector<Case> cases;
    DType format = DType::bf16;
    const auto add = [&](std::int64_t rows, WeightShape w, int experts, int active, Options with) {
      cases.push_back(grouped_case(rows, w, experts, active, format, std::move(with)));
    };
    // One row; below, at and above the narrow tile; n and k within, at and beyond a tile and a step.
    for (const std::int64_t rows : {1, 15, 16}) add(rows, {40, 72}, 1, 1, {});
    add(7, {128, 64}, 5, 3, {}), add(9, {136, 128}, 3, 2, {{"gather", 1}});
    add(40, {72, 64}, 4, 3, {{"zipf", 150}, {"alignment", 16}}), add(34, {8, 8}, 33, 20, {{"gather", 1}});
    add(6, {48, 64}, 512, 4, {});
    // Blocks that go through several tiles, with one step each and several; blocks that share a tile.
    add(20, {264, 64}, 3, 3, {{"sm_count", 1}}), add(12, {264, 136}, 2, 2, {{"sm_count", 1}});
    for (const int sms : {1, 2, 4}) add(3, {24, 712}, 2, 2, {{"sm_count", sms}});
    add(2, {136, 1024}, 2, 1, {{"sm_count", 3}});
    add(320, {136, 8}, 40, 2, {{"zipf", 300}});  // more than a band of tiles of one expert
    // The middle and the wide tile, ragged, shared and not.
    add(17, {64, 64}, 1, 1, {}), add(70, {136, 64}, 2, 2, {}), add(33, {24, 520}, 1, 1, {{"sm_count", 2}});
    add(65, {40, 72}, 1, 1, {{"gather", 1}}), add(129, {136, 64}, 1, 1, {{"sm_count", 1}});
    add(70, {16, 512}, 1, 1, {{"sm_count", 2}}), add(70, {16, 16}, 3, 1, {});
    // The other format: every tile, shared and not, k within and beyond a step.
    format = DType::fp8;
    add(9, {136, 144}, 3, 2, {{"gather", 1}}), add(3, {24, 1040}, 2, 2, {{"sm_count", 2}});
    add(33, {24, 16}, 1, 1, {}), add(70, {40, 144}, 1, 1, {{"alignment", 16}});
    return cases;
  }

  std::vector<Case> cases_of(const KernelCall& call) const override {
    const bool formats = call.dtype == DType::bf16 || call.dtype == DType::fp8;
    if (call.cls != &kGroupedGemm || !formats || call.weight_dtype != call.dtype) return {};
    const auto dim = [&](std::size_t i) { return static_cast<std::int64_t>(call.dims[i]); };
    const std::int64_t bytes = call.dtype == DType::fp8 ? 1 : 2;
    const std::int64_t rows = dim(0), experts = dim(3), active = dim(4);
    if (dim(1) % 8 != 0 || dim(2) * bytes % 16 != 0 || experts < 1 || experts > kMaxGroupedExperts ||
        active < 1 || active > std::min(rows, experts))
      return {};
    return {grouped_case(rows, {dim(1), dim(2)}, static_cast<int>(experts), static_cast<int>(active),
                         call.dtype)};
  }

  std::optional<std::string> unsupported(const Case& c, const DeviceInfo& device) const override {
    if (device.cc_major < 8)
      return "asynchronous copies and bf16 tensor cores begin with compute capability 8.0";
    if (c.call.dtype == DType::fp8 && device.cc_major * 10 + device.cc_minor < 89)
      return "fp8 tensor cores begin with compute capability 8.9";
    if (gemm_grouped_shared_bytes() > device.shared_bytes_per_block) return "too little shared memory";
    const auto& d = c.call.dims;
    const double bytes = 2 * (d[0] * (d[1] + d[2]) + d[1] * d[2] * d[3]);
    if (bytes > 0.8 * static_cast<double>(device.memory_bytes))
      return "needs more memory than the device has";
    return std::nullopt;
  }

  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<GroupedInstance>(c);
  }
};

const GemmGrouped component;

}  // namespace

const Registration<Components> gemm_grouped_component{
    "gemm_grouped", "matrix products of experts with ragged rows, in one launch", &component};

}  // namespace orrery::kernels
