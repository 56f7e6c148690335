#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "split_kv.hpp"

namespace orrery::kernels {

/// Appends the attention of one query over keys [begin, end) in double precision: all scores, their softmax,
/// the weighted sum of the values. k(key, i), i < q.size(), and v(key, i), i < value_dim, are elements. Zeros
/// without keys.
template <class K, class V>
void append_attention(std::vector<double>& out, std::span<const double> q, int value_dim, KeyRange keys,
                      double scale, K&& k, V&& v) {
  std::vector<double> weights;
  double most = -INFINITY, sum = 0;
  for (int key = keys.begin; key < keys.end; ++key) {
    double score = 0;
    for (std::size_t i = 0; i < q.size(); ++i) score += q[i] * k(key, static_cast<int>(i));
    weights.push_back(score * scale);
    most = std::max(most, weights.back());
  }
  for (double& w : weights) w = std::exp(w - most), sum += w;
  for (int i = 0; i < value_dim; ++i) {
    double y = 0;
    for (int key = keys.begin; key < keys.end; ++key)
      y += weights[static_cast<std::size_t>(key - keys.begin)] / sum * v(key, i);
    out.push_back(y);
  }
}

}  // namespace orrery::kernels
