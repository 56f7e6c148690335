#include "linear_problem.hpp"

#include <algorithm>
#include <cmath>

#include "ops/recurrent.hpp"
#include "random.hpp"

namespace orrery::kernels {

namespace {
using Decay = LinearRule::Decay;

std::size_t product(std::int64_t a, std::int64_t b, std::int64_t c = 1, std::int64_t d = 1) {
  return static_cast<std::size_t>(a * b * c * d);
}
}  // namespace

LinearRule linear_rule(const std::string& variant) {
  if (variant == "constant_decay") return {Decay::constant};
  if (variant == "scalar_gate") return {Decay::token};
  if (variant == "vector_gate") return {Decay::channel};
  if (variant == "delta") return {Decay::none, true};
  if (variant == "gated_delta") return {Decay::token, true};
  if (variant == "vector_gated_delta") return {Decay::channel, true};
  if (variant == "ssd") return {Decay::token, false, true};
  return {};
}

std::vector<std::string> linear_variants(const KernelClass& cls) {
  if (&cls == &kLinearAttention || &cls == &kLinearAttentionDecode)
    return {"constant_decay", "scalar_gate", "additive"};
  if (&cls == &kGatedLinearAttention || &cls == &kGatedLinearAttentionDecode) return {"vector_gate"};
  if (&cls == &kDeltaRule || &cls == &kDeltaRuleDecode) return {"gated_delta", "delta"};
  if (&cls == &kGatedDeltaRule || &cls == &kGatedDeltaRuleDecode) return {"vector_gated_delta"};
  return {};
}

LinearProblem::LinearProblem(const LinearSizes& sizes, const LinearRule& rule,
                             std::vector<std::int64_t> lengths, std::uint64_t seed)
    : lengths_(std::move(lengths)), seed_(seed) {
  std::int64_t tokens = 0;
  for (const auto length : lengths_) tokens += length;
  const auto seqs = static_cast<std::int64_t>(lengths_.size());
  const float unit = std::sqrt(3.0F / static_cast<float>(sizes.key_dim));  // uniform, of unit expected norm
  LinearInputs& in = inputs_;
  in.seqs = static_cast<int>(seqs), in.heads = sizes.heads, in.key_heads = sizes.key_heads;
  in.key_dim = sizes.key_dim, in.value_dim = sizes.value_dim, in.delta = rule.delta;
  in.scale = rule.ssd ? 1.0F : 1.0F / std::sqrt(static_cast<float>(sizes.key_dim));
  const std::int64_t keys = std::int64_t{sizes.key_heads} * sizes.key_dim,
                     values = std::int64_t{sizes.heads} * sizes.value_dim;
  if (rule.ssd) {  // one convolution gives x, B and C in one row
    v_ = random_array<bf16>(product(tokens, values + 2 * keys), seed);
    in.v = v_.data(), in.k = in.v + values, in.q = in.k + keys;
    in.key_pitch = in.value_pitch = values + 2 * keys;
  } else {
    q_ = random_array<bf16>(product(tokens, keys), seed), in.q = q_.data();
    k_ = random_array<bf16>(q_.size(), seed + 1, unit), in.k = k_.data();
    v_ = random_array<bf16>(product(tokens, values), seed + 2), in.v = v_.data();
  }
  out_ = poisoned_array<bf16>(product(tokens, values)), in.out = out_.data();
  state_ = random_array<float>(product(seqs, sizes.heads, sizes.key_dim, sizes.value_dim), seed + 3);
  in.state = state_.data();
  const std::size_t rows = product(tokens, sizes.heads);
  if (rule.decay == Decay::constant) {
    decay_ = random_between<float>(static_cast<std::size_t>(sizes.heads), seed + 4, -0.1F, -0.002F);
    in.decay = decay_.data(), in.constant_decay = true;
  }
  if (rule.decay == Decay::token)
    decay_ = random_between<float>(rows, seed + 4, -0.5F, 0.0F), in.decay = decay_.data();
  if (rule.decay == Decay::channel) {
    gate_ = random_between<bf16>(rows * static_cast<std::size_t>(sizes.key_dim), seed + 4, -0.5F, 0.0F);
    in.gate = gate_.data();
  }
  if (rule.delta || rule.ssd)
    beta_ = random_between<float>(rows, seed + 5, 0.0F, 1.0F), in.beta = beta_.data();
  if (rule.ssd) {
    skip_ = random_between<float>(static_cast<std::size_t>(sizes.heads), seed + 6, 0.0F, 1.0F);
    in.skip = skip_.data();
  }
}

LinearProblem::Reference LinearProblem::reference(std::vector<double> state) const {
  const LinearInputs in = with_pitches(inputs_);
  const auto values = to_doubles(v_), gate = to_doubles(gate_);
  const auto keys = q_.size() == 0 ? values : to_doubles(k_),
             queries = q_.size() == 0 ? values : to_doubles(q_);
  const auto decay = to_doubles(decay_), beta = to_doubles(beta_), skip = to_doubles(skip_);
  Reference r{std::vector<double>(out_.size()), std::move(state)};
  const auto dk = static_cast<std::size_t>(in.key_dim), dv = static_cast<std::size_t>(in.value_dim),
             heads = static_cast<std::size_t>(in.heads), key_heads = static_cast<std::size_t>(in.key_heads);
  std::size_t first = 0;
  for (std::size_t seq = 0; seq < lengths_.size(); ++seq) {
    const std::size_t end = first + static_cast<std::size_t>(lengths_[seq]);
    for (std::size_t h = 0; h < heads; ++h) {
      double* s = r.state.data() + (seq * heads + h) * dk * dv;
      for (std::size_t t = first; t < end; ++t) {
        const std::size_t row = t * heads + h,
                          key = t * static_cast<std::size_t>(in.key_pitch) + h / (heads / key_heads) * dk;
        const double *k = keys.data() + key, *q = queries.data() + key,
                     *v = values.data() + t * static_cast<std::size_t>(in.value_pitch) + h * dv;
        if (q_.size() == 0) k += in.k - in.v, q += in.q - in.v;
        const double write = beta.empty() ? 1 : beta[row];
        std::vector<double> x(dv);
        for (std::size_t j = 0; j < dv; ++j) x[j] = v[j];
        for (std::size_t i = 0; i < dk; ++i) {
          const double log = !gate.empty()   ? gate[row * dk + i]
                             : decay.empty() ? 0
                                             : decay[in.constant_decay ? h : row];
          for (std::size_t j = 0; j < dv; ++j) {
            s[i * dv + j] *= std::exp(log);
            if (in.delta) x[j] -= k[i] * s[i * dv + j];
          }
        }
        for (std::size_t i = 0; i < dk; ++i) {
          for (std::size_t j = 0; j < dv; ++j) {
            s[i * dv + j] += write * k[i] * x[j];
            r.out[row * dv + j] += static_cast<double>(in.scale) * q[i] * s[i * dv + j];
          }
        }
        for (std::size_t j = 0; j < dv && !skip.empty(); ++j) r.out[row * dv + j] += skip[h] * v[j];
      }
    }
    first = end;
  }
  return r;
}

Check LinearProblem::check(const std::function<void()>& launch, double tolerance) {
  fill_random(state_.data(), state_.size(), seed_ + 3, 1.0F);  // launches before this one have moved it
  auto before = to_doubles(state_);
  launch();
  const Reference expected = reference(std::move(before));
  const Check state = compare(to_doubles(state_), expected.state, tolerance);
  const Check out = compare(to_doubles(out_), expected.out, tolerance);
  return out.error > state.error ? out : state;
}

std::vector<std::int64_t> prompt_lengths(std::int64_t tokens, std::int64_t seqs, bool ragged) {
  std::vector<std::int64_t> lengths;
  std::int64_t done = 0;
  for (std::int64_t i = 1; i <= seqs; ++i) {
    const std::int64_t until = ragged ? tokens * i * (i + 1) / (seqs * (seqs + 1)) : tokens * i / seqs;
    lengths.push_back(until - done), done = until;
  }
  std::reverse(lengths.begin(), lengths.end());  // the shortest at the end, where reading on is seen
  return lengths;
}

LinearInputs with_pitches(LinearInputs in) {
  if (in.key_pitch == 0) in.key_pitch = std::int64_t{in.key_heads} * in.key_dim;
  if (in.value_pitch == 0) in.value_pitch = std::int64_t{in.heads} * in.value_dim;
  return in;
}

ChunkPlan plan_chunks(const std::vector<std::int64_t>& lengths, int chunk) {
  ChunkPlan plan;
  std::int64_t first = 0;
  for (const std::int64_t length : lengths) {
    plan.starts.push_back(static_cast<std::int32_t>(plan.spans.size()));
    for (std::int64_t done = 0; done < length; done += chunk) {
      plan.spans.push_back({static_cast<std::int32_t>(first + done),
                            static_cast<std::int32_t>(std::min<std::int64_t>(chunk, length - done))});
    }
    first += length;
  }
  plan.starts.push_back(static_cast<std::int32_t>(plan.spans.size()));
  return plan;
}

ChunkedProblem::ChunkedProblem(const LinearProblem& problem, int chunk) {
  const ChunkPlan plan = plan_chunks(problem.lengths(), chunk);
  const LinearInputs& in = problem.inputs();
  spans_ = DeviceArray<ChunkSpan>(std::span<const ChunkSpan>(plan.spans));
  starts_ = DeviceArray<std::int32_t>(std::span<const std::int32_t>(plan.starts));
  const auto chunks = static_cast<std::int64_t>(plan.spans.size());
  states_ = poisoned_array<bf16>(product(chunks, in.heads, in.key_dim, in.value_dim));
  if (in.delta) {
    std::int64_t tokens = 0;
    for (const auto length : problem.lengths()) tokens += length;
    w_ = poisoned_array<bf16>(product(tokens, in.heads, in.key_dim));
    u_ = poisoned_array<bf16>(product(tokens, in.heads, in.value_dim));
  }
  args_ = {in,        spans_.data(), starts_.data(),           states_.data(),
           w_.data(), u_.data(),     static_cast<int>(chunks), chunk};
}

double linear_problem_bytes(double tokens, double seqs, const LinearSizes& sizes, int chunk) {
  const double heads = sizes.heads, dk = sizes.key_dim, dv = sizes.value_dim;
  const double chunks = chunk == 0 ? 0 : tokens / chunk + seqs;
  return tokens * heads * (8 * dk + 6 * dv) + (4 * seqs + 2 * chunks) * heads * dk * dv;
}

}  // namespace orrery::kernels
