#include "ops/attention_pattern.hpp"

#include <algorithm>
#include <cmath>

namespace orrery {

namespace {

constexpr Tokens kAll = Tokens{1} << 50;  // beyond any context, and small enough to be added to

Tokens triangle(Tokens n) {
  return n * (n + 1) / 2;
}

/// Sum of floor(t / by) over t = 0 .. x - 1.
Tokens sum_floor(Tokens x, Tokens by) {
  const Tokens whole = x / by, rest = x % by;
  return by * (whole * (whole - 1) / 2) + rest * whole;
}

/// A pattern's keys by position for a context of n tokens in all, summed over queries past .. n - 1 (counted
/// from 0). Front: the globals.
class Positions {
 public:
  Positions(const AttentionPattern& pattern, const PrefillChunk& chunk)
      : p_(pattern),
        past_(chunk.past),
        n_(chunk.past + chunk.new_tokens),
        front_(std::min(pattern.globals, n_)),
        window_(window_at(pattern, n_)) {}

  /// Keys of the surroundings on one side, the query's own included.
  static Tokens window_at(const AttentionPattern& p, Tokens n) {
    if (!p.local) return 0;
    if (p.window == 0 && p.window_growth == 0) return kAll;
    return std::max<Tokens>(p.window + static_cast<Tokens>(p.window_growth * static_cast<double>(n)), 1);
  }
  Tokens window() const { return window_; }

  double pairs() const {
    if (p_.block == 0) return static_cast<double>(rows_in_front() + beyond_front()) + random_pairs();
    double sum = 0;
    Tokens block = p_.block, dilation = p_.dilation;
    for (std::int64_t level = 0; level < p_.levels; ++level) {
      sum += dilation > 1 ? dilated_blocks(block, dilation) : blocks(block);
      block *= p_.level_growth, dilation *= p_.level_growth;
    }
    return sum;
  }

 private:
  /// Queries among the globals: they see all there is.
  Tokens rows_in_front() const {
    const Tokens end = std::max(past_, front_);
    return p_.causal ? triangle(end) - triangle(past_) : (end - past_) * n_;
  }

  /// Keys on one side of the query and beyond the globals, itself apart, summed over distances 0 .. x - 1 to
  /// the last of them: of the window one every `dilation`, beyond it one every `stride`.
  Tokens side(Tokens x) const {
    Tokens sum = 0;
    if (window_ > 0) {
      const Tokens far = window_ > x ? x : std::min(x, window_ * p_.dilation);
      sum += sum_floor(far, p_.dilation) + (x - far) * (window_ - 1);
    }
    if (p_.stride > 0) {
      sum += sum_floor(x, p_.stride);
      if (window_ > 0) {
        const Tokens far = std::min(x, window_);
        sum -= sum_floor(far, p_.stride) + (x - far) * ((window_ - 1) / p_.stride);
      }
    }
    return sum;
  }

  Tokens beyond_front() const {
    const Tokens first = std::max(past_, front_), self = window_ > 0 || p_.stride > 0 ? 1 : 0;
    Tokens sum = (n_ - first) * (front_ + self) + side(n_ - front_) - side(first - front_);
    if (!p_.causal) sum += side(n_ - first);
    return sum;
  }

  /// min(random, unseen) of the queries beyond the globals, where the surroundings are a plain window.
  double random_pairs() const {
    if (p_.random == 0 || window_ >= n_) return 0;
    Tokens sum = 0;
    const auto reach = [&](Tokens distance) { return std::min(std::max<Tokens>(window_ - 1, 0), distance); };
    for (Tokens q = std::max(past_, front_); q < n_; ++q) {
      Tokens seen = front_ + (window_ > 0 ? 1 : 0) + reach(q - front_);
      if (!p_.causal) seen += reach(n_ - 1 - q);
      sum += std::min(p_.random, (p_.causal ? q + 1 : n_) - seen);
    }
    return static_cast<double>(sum);
  }

  /// Own block, `memory` keys around it, globals, columns and random keys: block by block.
  double blocks(Tokens size) const {
    Tokens sum = 0;
    for (Tokens start = past_ / size * size; start < n_; start += size) {
      const Tokens from = std::max(start, past_), to = std::min(start + size, n_);
      const Tokens split = std::clamp(front_, from, to), rows = to - split;
      sum += p_.causal ? triangle(split) - triangle(from) : (split - from) * n_;
      const Tokens low = std::max(front_, start - p_.memory);
      if (p_.causal) {  // query q sees the globals and low .. q
        sum += rows * (front_ - low) + triangle(to) - triangle(split);
        sum += rows * (std::min(p_.random, low - front_) + p_.columns * (start / size));
      } else {
        const Tokens seen = front_ + std::min(n_, start + size + p_.memory) - low;
        sum += rows * (seen + std::min(p_.random, n_ - seen));
      }
    }
    return static_cast<double>(sum);
  }

  /// Segments of which a head takes the queries and keys of one residue (LongNet; Ding et al., 2023, section
  /// 3.1): the mean over as many heads as there are residues.
  double dilated_blocks(Tokens size, Tokens dilation) const {
    const auto among = [&](Tokens length, Tokens residue) {
      return length / dilation + (residue < length % dilation ? 1 : 0);
    };
    Tokens sum = 0;
    for (Tokens start = past_ / size * size; start < n_; start += size) {
      const Tokens from = std::max(start, past_) - start, to = std::min(size, n_ - start);
      for (Tokens residue = 0; residue < std::min(dilation, to); ++residue) {
        const Tokens before = among(from, residue), after = among(to, residue);
        sum += p_.causal ? triangle(after) - triangle(before) : (after - before) * after;
      }
    }
    return static_cast<double>(sum) / static_cast<double>(dilation);
  }

  const AttentionPattern& p_;
  Tokens past_, n_, front_, window_;
};

/// How many of n keys a query sees that chooses: at most A + f n.
struct Chosen {
  double most = 0, fraction = 0;
  explicit Chosen(const AttentionPattern& p)
      : most(static_cast<double>(p.globals + p.window + p.select->budget)),
        fraction(std::min(1.0, p.select->fraction)) {}
  double of(double n) const { return std::min(n, most + fraction * n); }
  /// Sum over n = 1 .. last.
  double sum(Tokens last) const {
    const auto n = static_cast<double>(last);
    if (fraction >= 1) return n * (n + 1) / 2;
    const double full = std::min(n, std::floor(most / (1 - fraction)));  // contexts seen whole
    return full * (full + 1) / 2 + (n - full) * most + fraction * (n * (n + 1) / 2 - full * (full + 1) / 2);
  }
};

double chosen_pairs(const AttentionPattern& p, const PrefillChunk& chunk) {
  const Chosen chosen(p);
  const auto past = static_cast<double>(chunk.past), m = static_cast<double>(chunk.new_tokens);
  const double n = past + m;
  if (p.select->queries) {
    const double after = chosen.of(n), before = chosen.of(past);
    return p.causal ? (after * (after + 1) - before * (before + 1)) / 2 : after * after * (m / n);
  }
  // Buckets of a hash are computed whole, masked or not.
  if (!p.causal || p.select->index == KeyIndex::hash) return m * chosen.of(n);
  return chosen.sum(chunk.past + chunk.new_tokens) - chosen.sum(chunk.past);
}

/// Summaries read, summed over the chunk's queries. Those with a limit follow the window.
double summary_pairs(const AttentionPattern& p, const PrefillChunk& chunk) {
  const KeySummaries& s = *p.summaries;
  const Tokens m = chunk.new_tokens, n = chunk.past + m;
  if (s.stride == 0) return static_cast<double>(m * std::min(s.count, n));
  const Tokens chosen = p.select && p.select->summaries ? p.select->budget : 0;
  const Tokens limit = chosen > 0 ? chosen : s.most, most = limit > 0 ? limit : kAll;
  const Tokens skipped = s.most > 0 ? p.window + p.globals : 0;
  if (!p.causal) return static_cast<double>(m * std::min(most, std::max<Tokens>(n - skipped, 0) / s.stride));
  // Sum over contexts 1 .. last of min(most, (context - skipped) / stride).
  const auto upto = [&](Tokens last) {
    const Tokens covered = std::max<Tokens>(last - skipped, 0) + 1;  // contexts from `skipped` on
    const Tokens growing = limit > 0 ? std::min(covered, limit * s.stride) : covered;
    return sum_floor(growing, s.stride) + (covered - growing) * limit;
  };
  return static_cast<double>(upto(n) - upto(chunk.past));
}

Tokens summaries_of(const AttentionPattern& p, Tokens n) {
  if (!p.summaries) return 0;
  const KeySummaries& s = *p.summaries;
  if (s.stride == 0) return std::min(s.count, n);
  if (s.most == 0) return n / s.stride;
  return std::min(s.most, std::max<Tokens>(n - p.window - p.globals, 0) / s.stride);
}

}  // namespace

double AttentionPattern::pairs(const PrefillChunk& chunk) const {
  if (chunk.new_tokens == 0) return 0;
  if (!holds(Phase::prefill)) {
    AttentionPattern all;
    all.causal = causal;
    return Positions(all, chunk).pairs();
  }
  double sum = chooses_tokens() ? chosen_pairs(*this, chunk) : Positions(*this, chunk).pairs();
  if (summaries) sum += summary_pairs(*this, chunk);
  return sum;
}

Tokens AttentionPattern::keys(const PrefillChunk& chunk) const {
  const Tokens m = chunk.new_tokens, n = chunk.past + m;
  if (!holds(Phase::prefill) || m == 0) return n;
  const Tokens front = std::min(globals, n), extra = summaries_of(*this, n);
  // What queries beyond the globals read of the keys beyond them; globals read everything when not causal.
  if (!causal && chunk.past < front) return n + extra;
  const auto bounded = [&](double most) {
    return static_cast<Tokens>(std::ceil(std::min(static_cast<double>(n), most))) + extra;
  };
  if (chooses_tokens()) {
    return select->queries ? bounded(Chosen(*this).of(static_cast<double>(n)))
                           : bounded(chosen_pairs(*this, chunk));
  }
  Tokens low = n;  // of the keys that are read, where they are contiguous
  const Tokens wide = Positions(*this, chunk).window();
  if (block > 0) {
    const auto times = std::pow(static_cast<double>(level_growth), static_cast<double>(levels - 1));
    const Tokens largest = block * static_cast<Tokens>(times);
    low = chunk.past / largest * largest - memory;
  } else if (wide > 0) {
    low = chunk.past - (std::min(wide, n) - 1) * dilation;
  }
  auto read = static_cast<double>(n - std::clamp(low, front, n));
  const bool gaps = block == 0 && (dilation > m || stride > m);  // that so few queries do not fill
  if (stride > 0) read = static_cast<double>(n - front);
  if (gaps) {
    const PrefillChunk beyond{n - std::max(chunk.past, front), std::max(chunk.past, front)};
    const double each = beyond.new_tokens == 0 ? 0 : Positions(*this, beyond).pairs();
    read = std::min(read, each - static_cast<double>(beyond.new_tokens * front));
  }
  if (columns > 0) {
    const Tokens earlier_blocks = std::max<Tokens>(low, 0) / block;
    read += static_cast<double>(earlier_blocks * columns);
  }
  if (random > 0) {  // expected to be hit by at least one of the queries
    const double unseen = static_cast<double>(n - front) - read;
    if (unseen > 0) {
      const double missed = std::max(0.0, 1 - static_cast<double>(random) / unseen);
      read += unseen * (1 - std::pow(missed, static_cast<double>(m)));
    }
  }
  return bounded(static_cast<double>(front) + read);
}

double tree_pairs(Tokens context, std::span<const Tokens> depths) {
  double sum = 0;
  for (const Tokens depth : depths) sum += static_cast<double>(context + depth);
  return sum;
}

}  // namespace orrery
