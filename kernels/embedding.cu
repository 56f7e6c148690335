#include "embedding.hpp"
#include "random.hpp"
#include "row_cases.hpp"

// Embedding lookup: one block per token copies its row in 16-byte accesses. Bound by memory, and by latency
// for few tokens.

namespace orrery::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kPer = kPerLoad<bf16>;

__global__ void __launch_bounds__(kThreads)
    embed_kernel(bf16* out, const bf16* table, const std::int32_t* ids, int width) {
  const bf16* row = table + static_cast<std::size_t>(ids[blockIdx.x]) * static_cast<std::size_t>(width);
  bf16* to = out + std::size_t{blockIdx.x} * static_cast<std::size_t>(width);
  for (int i = static_cast<int>(threadIdx.x) * kPer; i < width; i += kThreads * kPer) {
    store_pack(to + i, load_pack<kPer>(row + i));
  }
}

}  // namespace

void embed(bf16* out, const bf16* table, const std::int32_t* ids, std::int64_t tokens, int width,
           StreamRef stream) {
  if (tokens == 0) return;
  launch(embed_kernel, {dim3(static_cast<unsigned>(tokens)), dim3(kThreads), 0, stream}, out, table, ids,
         width);
}

namespace {

class EmbeddingInstance final : public Instance {
 public:
  EmbeddingInstance(std::int64_t tokens, int width, std::int64_t vocab, std::uint64_t seed)
      : width_(width),
        table_(random_array<bf16>(static_cast<std::size_t>(vocab * width), seed)),
        out_(poisoned_array<bf16>(static_cast<std::size_t>(tokens * width))) {
    for (std::int64_t i = 0; i < tokens; ++i)
      ids_.push_back(static_cast<std::int32_t>((i * 7919 + 13) % vocab));
    ids_on_device_ = DeviceArray<std::int32_t>(ids_);
  }
  void launch(StreamRef stream) override {
    embed(out_.data(), table_.data(), ids_on_device_.data(), static_cast<std::int64_t>(ids_.size()), width_,
          stream);
  }
  Check check() override {
    const auto table = to_doubles(table_);
    std::vector<double> reference;
    for (const auto id : ids_) {
      const auto row = table.begin() + static_cast<std::ptrdiff_t>(id) * width_;
      reference.insert(reference.end(), row, row + width_);
    }
    return compare(to_doubles(out_), reference, 0);
  }

 private:
  int width_;
  DeviceArray<bf16> table_, out_;
  std::vector<std::int32_t> ids_;
  DeviceArray<std::int32_t> ids_on_device_;
};

class Embedding final : public Component {
 public:
  std::string_view source() const override { return "a gather of rows"; }
  std::vector<Case> sweep(const DeviceInfo&) const override {
    std::vector<Case> cases;
    for (const std::int64_t width : {4096, 8192, 2048}) {
      for (const auto tokens : row_token_counts()) cases.push_back(of(tokens, width, 128256));
    }
    return cases;
  }
  std::vector<Case> checks() const override { return {of(1, 8, 10), of(5, 1032, 40), of(40, 64, 40)}; }
  std::vector<Case> cases_of(const KernelCall& call) const override {
    const auto bytes = static_cast<std::int64_t>(call.dims[1]);
    if (call.cls != &kEmbedding || bytes % 32 != 0) return {};
    return {of(static_cast<std::int64_t>(call.dims[0]), bytes / 4, 128256)};
  }
  std::unique_ptr<Instance> make(const Case& c) const override {
    return std::make_unique<EmbeddingInstance>(tokens_of(c), width_of(c), c.option("vocab", 128256), c.seed);
  }

 private:
  static Case of(std::int64_t tokens, std::int64_t width, std::int64_t vocab) {
    Case c = row_case(kEmbedding, "gather", tokens, width, width * 4);
    c.with["vocab"] = vocab;
    return c;
  }
};

const Embedding component;

}  // namespace

const Registration<Components> embedding{"embedding", "rows of the embedding table by token", &component};

}  // namespace orrery::kernels
