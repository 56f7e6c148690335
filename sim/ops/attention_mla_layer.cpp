#include <memory>

#include "ops/attention_mla.hpp"
#include "ops/collective.hpp"
#include "ops/context_parallel.hpp"
#include "ops/elementwise.hpp"

namespace orrery {

namespace {
using Scaling = KernelClass::Scaling;
using Part = std::pair<OperatorPtr, Scaling>;

/// What is whole on every rank: one unit, however wide.
UnitGroup whole(std::int64_t width) {
  return {1, width};
}

/// The queries' and the latents' projections. With a latent of their own the queries share one matrix with
/// the keys' latents, as engines fuse them.
void add_projections(const LatentSizes& s, std::int64_t hidden, std::vector<Part>& out) {
  const auto tokens = [&](OperatorPtr op) { out.emplace_back(std::move(op), Scaling::tokens); };
  const std::vector<UnitGroup> input{whole(hidden)};
  const UnitGroup query{s.heads, s.qk()}, latents{s.groups, s.group_latent()};
  if (s.query_latent > 0) {
    tokens(std::make_shared<Linear>("qkv_a_proj", input,
                                    std::vector{whole(s.query_latent), latents, whole(s.rope)},
                                    TensorSplit::columns, false, Module::mixer));
    tokens(std::make_shared<RmsNorm>("q_a_norm", s.query_latent, false, true));
    tokens(std::make_shared<Linear>("q_b_proj", std::vector{whole(s.query_latent)}, std::vector{query},
                                    TensorSplit::columns, false, Module::mixer));
  } else {
    tokens(std::make_shared<Linear>("q_proj", input, std::vector{query}, TensorSplit::columns, false,
                                    Module::mixer));
    tokens(std::make_shared<Linear>("kv_a_proj", input, std::vector{latents, whole(s.rope)},
                                    TensorSplit::columns, false, Module::mixer));
  }
  if (s.gate) {
    tokens(std::make_shared<Linear>("gate_proj", input, std::vector{UnitGroup{s.heads, s.value}},
                                    TensorSplit::columns, false, Module::mixer));
  }
  tokens(std::make_shared<RmsNorm>("kv_a_norm", s.latent, false, true));
  tokens(std::make_shared<MlaRopeKvWrite>(s));
}
}  // namespace

std::vector<Part> mla_operators(const LatentSizes& s, std::int64_t hidden, KeyCap read, std::size_t cap_index,
                                KeyCap kept, double other_bytes) {
  s.check();
  using Side = MlaAbsorb::Side;
  std::vector<Part> out;
  out.emplace_back(std::make_shared<Quantise>(whole(hidden), false, Producer::norm, Module::mixer),
                   Scaling::tokens);
  add_projections(s, hidden, out);
  const bool sparse = read.tokens > 0;
  const std::vector<UnitGroup> cached{{s.groups, s.group_latent()}, whole(s.rope)};
  out.emplace_back(std::make_shared<KeyExchange>("key_exchange", cached, other_bytes, 0, true),
                   Scaling::prefill);
  out.emplace_back(std::make_shared<CacheGather>(cached), Scaling::prefill);
  if (sparse) {
    out.emplace_back(std::make_shared<MlaAbsorb>(s, Side::query, true), Scaling::prefill);
  } else {
    out.emplace_back(std::make_shared<MlaUpProjection>(s), Scaling::prefill);
  }
  out.emplace_back(std::make_shared<MlaPrefill>(s, read), Scaling::prefill);
  if (sparse) out.emplace_back(std::make_shared<MlaAbsorb>(s, Side::output, true), Scaling::prefill);
  out.emplace_back(std::make_shared<MlaAbsorb>(s, Side::query), Scaling::decode);
  out.emplace_back(
      std::make_shared<QueryGather>(UnitGroup{s.heads, s.group_latent() + s.rope}, Phase::decode),
      Scaling::decode);
  out.emplace_back(std::make_shared<MlaDecode>(s, read, cap_index, kept), Scaling::decode);
  out.emplace_back(std::make_shared<PartialOutputs>(UnitGroup{s.heads, s.group_latent()}, Phase::decode),
                   Scaling::decode);
  out.emplace_back(std::make_shared<MlaAbsorb>(s, Side::output), Scaling::decode);
  const UnitGroup heads{s.heads, s.value};
  if (s.gate) {
    out.emplace_back(std::make_shared<Activation>(heads.width(), true, Module::mixer_output),
                     Scaling::tokens);
  }
  out.emplace_back(std::make_shared<Quantise>(heads, true, Producer::attention, Module::mixer_output),
                   Scaling::tokens);
  out.emplace_back(std::make_shared<Linear>("o_proj", std::vector{heads}, std::vector{whole(hidden)},
                                            TensorSplit::rows, false, Module::mixer_output),
                   Scaling::tokens);
  out.emplace_back(std::make_shared<AllReduce>("attn_all_reduce", hidden), Scaling::tokens);
  return out;
}

}  // namespace orrery
