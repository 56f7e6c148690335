#include "calibration/layer_rows.hpp"

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "ops/attention_mla.hpp"
#include "ops/elementwise.hpp"
#include "ops/moe.hpp"

namespace orrery::calibrate {

const KernelCall& target_call(const LayerRow& row) {
  const auto at = std::find_if(row.calls.begin(), row.calls.end(),
                               [&](const KernelCall& call) { return call.cls == row.target; });
  ORRERY_CHECK(at != row.calls.end(), "a timing of a layer holds the class it is to tell of");
  return *at;
}

double seconds_of(const LayerRow& row, const KernelCostModel& model) {
  double sum = 0;
  for (const auto& call : row.calls) sum += model.price(call).time.value;
  return sum;
}

namespace {
constexpr double kMs = 1e-3;

LoweringContext context_of(const std::string& kv_format) {
  LoweringContext ctx;
  ctx.precision.kv_cache = parse_dtype(kv_format);
  return ctx;
}

LatentSizes sizes_of(const CsvTable& t, std::size_t row) {
  LatentSizes s;
  s.heads = static_cast<std::int64_t>(t.number(row, "num_heads"));  // of one rank already
  s.latent = 512, s.rope = 64, s.nope = 128, s.value = 128;
  return s;
}
}  // namespace

std::int64_t read_mla(const CsvTable& t, bool decode, std::vector<LayerRow>& out) {
  constexpr double kLong = 1024;
  std::int64_t taken = 0;
  for (std::size_t i = 0; i < t.rows(); ++i) {
    const auto ctx = context_of(t.text(i, "kv_cache_dtype"));
    if (!decode && ctx.precision.kv_cache != DType::bf16) continue;
    const LatentSizes sizes = sizes_of(t, i);
    const double batch = t.number(i, "batch_size"), length = t.number(i, decode ? "step" : "isl");
    BatchShape shape;
    LayerRow row;
    if (decode) {
      shape.decode_seqs = static_cast<std::int64_t>(batch);
      shape.decode_context = static_cast<Tokens>(batch * length);
      MlaAbsorb(sizes, MlaAbsorb::Side::query).lower(shape, ctx, row.calls);
      MlaDecode(sizes).lower(shape, ctx, row.calls);
      MlaAbsorb(sizes, MlaAbsorb::Side::output).lower(shape, ctx, row.calls);
    } else {
      shape.chunks.assign(static_cast<std::size_t>(batch), {static_cast<Tokens>(length), 0});
      MlaUpProjection(sizes).lower(shape, ctx, row.calls);
      MlaPrefill(sizes).lower(shape, ctx, row.calls);
    }
    row.target = decode ? &kAttentionMlaDecode : &kAttentionMlaPrefill;
    row.shape = {batch, length, static_cast<double>(sizes.heads)};
    row.region = length >= kLong ? "length >= 1024" : "length < 1024";
    row.seconds = t.number(i, "latency") * kMs;
    row.host_launched = true;
    out.push_back(std::move(row));
    ++taken;
  }
  return taken;
}

namespace {
/// One rank's part of a mixture of experts: what its experts get of a batch.
struct ExpertBatch {
  double tokens = 0, hidden = 0, width = 0, choices = 0, experts = 0, rows = 0, active = 0;
  double ups = 2;  ///< matrices before the activation: gate and up, or up alone
};

/// `ups` tensors of `width` columns each in 16 bits become one: act(gate) * up, or act(up).
KernelCall activation_of(const ExpertBatch& b) {
  constexpr double kElement = 2, kFlops = 5;
  KernelCall call;
  call.cls = &kActivation;
  call.dims = {b.rows, (b.ups + 1) * b.width * kElement};
  call.work.vector_flops = b.rows * b.width * kFlops;
  call.work.hbm_read_bytes = b.rows * b.ups * b.width * kElement;
  call.work.hbm_write_bytes = b.rows * b.width * kElement;
  return call;
}

/// What the first `local` experts get in a "balanced" row: the i-th choice of token t is expert t + i
/// ceil(E/k), modulo E; fewer than ceil(E/k) tokens are spread over that stride. A round of E tokens repeats
/// itself.
struct EvenChoices {
  double rows = 0, active = 0;
  EvenChoices(std::int64_t tokens, std::int64_t experts, std::int64_t top_k, std::int64_t local) {
    const std::int64_t stride = (experts + top_k - 1) / top_k, left = tokens % experts;
    std::set<std::int64_t> hit;
    for (std::int64_t t = 0; t < std::min(tokens, experts); ++t) {
      const std::int64_t first = tokens >= stride ? t : t * stride / tokens;
      for (std::int64_t i = 0; i < top_k; ++i) {
        const std::int64_t expert = (first + i * stride) % experts;
        if (expert >= local) continue;
        hit.insert(expert);
        if (t < left) ++rows;
      }
    }
    const std::int64_t rounds = tokens / experts;
    rows += static_cast<double>(rounds * top_k * local);
    active = static_cast<double>(hit.size());
  }
};

/// Nemotron 3's experts are two matrices (squared ReLU); the table does not say so, but these shapes beat a
/// third one's bandwidth.
bool ungated(double hidden, double width) {
  return (hidden == 2688 && width == 1856) || (hidden == 1024 && width == 2688) ||
         (hidden == 2048 && width == 5120);
}

KernelCalls calls_of(const ExpertBatch& b) {
  const auto bf16 = [](const KernelClass& cls, const KernelClass::Dims& dims) {
    return make_call(cls, dims, DType::bf16, DType::bf16);
  };
  return {bf16(kMoeRouting, {b.tokens, b.choices, b.rows / b.tokens, b.hidden}),
          bf16(kGroupedGemm, {b.rows, b.ups * b.width, b.hidden, b.experts, b.active}), activation_of(b),
          bf16(kGroupedGemm, {b.rows, b.hidden, b.width, b.experts, b.active})};
}
}  // namespace

std::int64_t read_moe(const CsvTable& t, std::vector<LayerRow>& out) {
  // With choices falling by a power law of exponent 1.2 and 8 times the experts, the last expert's expected
  // rows still are more than one.
  constexpr double kAllHit = 8, kDecodeTokens = 512;
  std::int64_t taken = 0;
  for (std::size_t i = 0; i < t.rows(); ++i) {
    if (t.has("moe_dtype") && parse_dtype(t.text(i, "moe_dtype")) != DType::bf16) continue;
    const double tp = t.number(i, "moe_tp_size"), ep = t.number(i, "moe_ep_size");
    const double experts = t.number(i, "num_experts"), top_k = t.number(i, "topk");
    ExpertBatch b;
    b.tokens = t.number(i, "num_tokens"), b.hidden = t.number(i, "hidden_size");
    b.width = t.number(i, "inter_size") / tp;
    b.choices = experts, b.experts = experts / ep;
    if (t.has("moe_dtype") && ungated(b.hidden, t.number(i, "inter_size"))) b.ups = 1;
    const bool balanced = t.text(i, "distribution") == "balanced";
    const bool all_hit = b.tokens * top_k >= kAllHit * experts;
    if (!balanced && (ep > 1 || (b.tokens > 1 && !all_hit))) continue;
    const auto whole = [](double x) { return static_cast<std::int64_t>(x); };
    const EvenChoices even(whole(b.tokens), whole(experts), whole(top_k), whole(b.experts));
    b.rows = balanced ? even.rows : b.tokens * top_k;
    b.active = balanced ? even.active : std::min(b.rows, b.experts);
    if (b.rows == 0) continue;
    LayerRow row;
    row.target = &kGroupedGemm;
    row.calls = calls_of(b);
    row.shape = {b.tokens, b.hidden, t.number(i, "inter_size"), top_k, experts, tp, ep};
    row.region = b.tokens > kDecodeTokens ? "tokens > 512" : "tokens <= 512";
    row.seconds = t.number(i, "latency") * kMs;
    out.push_back(std::move(row));
    ++taken;
  }
  return taken;
}

}  // namespace orrery::calibrate
