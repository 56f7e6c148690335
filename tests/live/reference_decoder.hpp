#pragma once

#include <cmath>
#include <numbers>
#include <vector>

#include "decoder.hpp"
#include "random.hpp"

namespace orrery::test {

/// The forward pass in double precision, all tokens of a sequence at once: no cache, no batch, no chunks.
class ReferenceDecoder {
 public:
  using Vector = std::vector<double>;

  explicit ReferenceDecoder(const live::Decoder& decoder) : sizes_(decoder.sizes()) {
    const live::Weights& w = decoder.weights();
    embedding_ = kernels::to_doubles(w.embedding);
    output_ = w.output.size() > 0 ? kernels::to_doubles(w.output) : embedding_;
    for (const auto& layer : w.layers) {
      layers_.push_back({matrix(layer.qkv), matrix(layer.o), matrix(layer.gate_up), matrix(layer.down),
                         kernels::to_doubles(layer.qkv_bias)});
    }
  }

  /// Logits [vocab] after each token.
  std::vector<Vector> logits(const std::vector<std::int32_t>& tokens) const {
    std::vector<Vector> x;
    for (const auto token : tokens) {
      const auto row = embedding_.begin() + std::ptrdiff_t{token} * sizes_.hidden;
      x.emplace_back(row, row + sizes_.hidden);
    }
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      add(x, attention(x, i));
      add(x, feed_forward(x, i));
    }
    std::vector<Vector> out;
    for (const auto& row : x) out.push_back(product(output_, norm(row)));
    return out;
  }

 private:
  struct Layer {
    Vector qkv, o, gate_up, down, bias;
  };

  static Vector matrix(const live::Linear& linear) {
    const auto raw = linear.storage().download();
    Vector out(raw.size() / 2);
    for (std::size_t i = 0; i < out.size(); ++i) {
      kernels::bf16 value;
      std::memcpy(&value, raw.data() + 2 * i, sizeof value);
      out[i] = static_cast<double>(kernels::to_float(value));
    }
    return out;
  }
  static Vector product(const Vector& w, const Vector& x) {
    Vector y(w.size() / x.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
      for (std::size_t j = 0; j < x.size(); ++j) y[i] += w[i * x.size() + j] * x[j];
    }
    return y;
  }
  static void normalise(double* x, std::size_t n) {
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) squares += x[i] * x[i];
    const double factor =
        1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(live::kNormEpsilon));
    for (std::size_t i = 0; i < n; ++i) x[i] *= factor;
  }
  static Vector norm(Vector x) {
    normalise(x.data(), x.size());
    return x;
  }
  static void add(std::vector<Vector>& x, const std::vector<Vector>& y) {
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
    }
  }
  static void rotate(double* head, int dim, std::size_t position) {
    for (int i = 0; i < dim / 2; ++i) {
      const double angle = static_cast<double>(position) * std::pow(live::kRopeBase, -2.0 * i / dim);
      const double a = head[i], b = head[i + dim / 2];
      head[i] = a * std::cos(angle) - b * std::sin(angle);
      head[i + dim / 2] = b * std::cos(angle) + a * std::sin(angle);
    }
  }

  std::vector<Vector> attention(const std::vector<Vector>& x, std::size_t index) const {
    const live::LayerSizes& l = sizes_.layers[index];
    std::vector<Vector> rows, out;
    for (std::size_t t = 0; t < x.size(); ++t) {
      rows.push_back(product(layers_[index].qkv, norm(x[t])));
      for (std::size_t i = 0; i < layers_[index].bias.size(); ++i) rows[t][i] += layers_[index].bias[i];
      for (int h = 0; h < l.heads + l.kv_heads; ++h) {
        double* const head = rows.back().data() + std::ptrdiff_t{h} * l.head_dim;
        if (l.qk_norm) normalise(head, static_cast<std::size_t>(l.head_dim));
        rotate(head, l.head_dim, t);
      }
    }
    for (std::size_t t = 0; t < x.size(); ++t) out.push_back(product(layers_[index].o, attend(rows, t, l)));
    return out;
  }

  static Vector attend(const std::vector<Vector>& rows, std::size_t t, const live::LayerSizes& l) {
    Vector out(static_cast<std::size_t>(l.q_width()));
    for (int h = 0; h < l.heads; ++h) {
      const int kv = h / (l.heads / l.kv_heads);
      const auto head = [&](std::size_t row, int number) {
        return rows[row].data() + std::ptrdiff_t{number} * l.head_dim;
      };
      Vector weights;
      double sum = 0;
      for (std::size_t s = 0; s <= t; ++s) {
        double score = 0;
        for (int i = 0; i < l.head_dim; ++i) score += head(t, h)[i] * head(s, l.heads + kv)[i];
        weights.push_back(std::exp(score / std::sqrt(l.head_dim)));
        sum += weights.back();
      }
      for (std::size_t s = 0; s <= t; ++s) {
        const double* const v = head(s, l.heads + l.kv_heads + kv);
        for (int i = 0; i < l.head_dim; ++i)
          out[static_cast<std::size_t>(h * l.head_dim + i)] += weights[s] / sum * v[i];
      }
    }
    return out;
  }

  std::vector<Vector> feed_forward(const std::vector<Vector>& x, std::size_t index) const {
    const auto width = static_cast<std::size_t>(sizes_.layers[index].ffn);
    std::vector<Vector> out;
    for (const auto& row : x) {
      const Vector both = product(layers_[index].gate_up, norm(row));
      Vector product_of(width);
      for (std::size_t i = 0; i < width; ++i)
        product_of[i] = both[i] / (1 + std::exp(-both[i])) * both[width + i];
      out.push_back(product(layers_[index].down, product_of));
    }
    return out;
  }

  live::DecoderSizes sizes_;
  Vector embedding_, output_;
  std::vector<Layer> layers_;
};

}  // namespace orrery::test
