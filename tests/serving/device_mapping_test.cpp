#include "serving/device_mapping.hpp"

#include <algorithm>
#include <numeric>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/rng.hpp"
#include "serving/matching.hpp"

using namespace orrery;

namespace {

double weight_of(const PairWeights& pairs, const std::vector<int>& columns) {
  double sum = 0;
  for (int row = 0; row < pairs.rows; ++row) sum += pairs.at(row, columns[static_cast<std::size_t>(row)]);
  return sum;
}

/// Over all ways to give each row a column of its own.
double heaviest_by_trying(const PairWeights& pairs) {
  std::vector<int> columns(static_cast<std::size_t>(pairs.columns));
  std::iota(columns.begin(), columns.end(), 0);
  double most = -1e300;
  do {
    most = std::max(most, weight_of(pairs, columns));
  } while (std::next_permutation(columns.begin(), columns.end()));
  return most;
}

Remeshing remesh(Mesh from, Mesh to, std::vector<int> held, double kv = 0) {
  return {from, to, std::move(held), 100.0, std::vector<double>(static_cast<std::size_t>(from.replicas), kv)};
}

std::vector<int> all(int n) {
  std::vector<int> out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

}  // namespace

TEST_CASE("is a matching as heavy as the heaviest found by trying all?") {
  Rng rng(7, "pairs");
  for (int trial = 0; trial < 300; ++trial) {
    PairWeights pairs;
    pairs.columns = static_cast<int>(rng.uniform_int(1, 6));
    pairs.rows = static_cast<int>(rng.uniform_int(1, pairs.columns));
    for (int i = 0; i < pairs.rows * pairs.columns; ++i) {
      pairs.weights.push_back(trial % 2 == 0 ? rng.uniform(-1, 1)
                                             : static_cast<double>(rng.uniform_int(0, 3)));
    }
    const std::vector<int> columns = heaviest_matching(pairs);
    std::vector<int> seen = columns;
    std::sort(seen.begin(), seen.end());
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
    CHECK(weight_of(pairs, columns) == Approx(heaviest_by_trying(pairs)));
  }
}

TEST_CASE("does nothing move where nothing changes, whatever order GPUs are counted in?") {
  Rng rng(3, "order");
  const Mesh mesh{2, 3, 2};
  std::vector<int> held = all(mesh.size());
  for (std::size_t i = held.size(); i > 1; --i) {
    std::swap(held[i - 1], held[static_cast<std::size_t>(rng.uniform_int(0, static_cast<int>(i) - 1))]);
  }
  const DeviceMapping mapping = map_devices(remesh(mesh, mesh, held, 40));
  CHECK(mapping.moved_weight_bytes == Approx(0).margin(1e-9));
  CHECK(mapping.moved_kv_bytes == Approx(0).margin(1e-9));
  CHECK(mapping.reused_bytes == Approx(2 * (100 + 40)));
}

TEST_CASE("do GPUs keep the half they have when replicas of one GPU become one of two?") {
  // Each of two GPUs holds the whole model; afterwards each needs a half of it, and of both caches.
  const DeviceMapping mapping = map_devices(remesh({2, 1, 1}, {1, 1, 2}, {0, 1}, 40));
  CHECK(mapping.moved_weight_bytes == Approx(0).margin(1e-9));
  CHECK(mapping.moved_kv_bytes == Approx(40));  // of each cache the half that is on the other one
  CHECK(mapping.heir == std::vector<int>{0, 0});
}

TEST_CASE("does a GPU that comes new fetch all that it is to hold, and only it?") {
  const DeviceMapping mapping = map_devices(remesh({1, 2, 2}, {1, 2, 2}, {0, 1, -1, 3}, 40));
  CHECK(mapping.moved_weight_bytes == Approx(25));
  CHECK(mapping.moved_kv_bytes == Approx(10));
  CHECK(mapping.most_moved_bytes == Approx(35));
  CHECK(mapping.gpu[2] == 2);
}

TEST_CASE("is what moves never more than by giving positions in order, and weights conserved?") {
  Rng rng(11, "meshes");
  const std::vector<Mesh> meshes{{1, 1, 4}, {1, 2, 2}, {1, 4, 1}, {2, 1, 2},
                                 {2, 2, 1}, {1, 3, 2}, {3, 1, 2}, {1, 1, 2}};
  const auto any = [&] { return meshes[static_cast<std::size_t>(rng.uniform_int(0, 7))]; };
  for (int trial = 0; trial < 200; ++trial) {
    const Mesh from = any(), to = any();
    std::vector<int> held = all(from.size());
    while (static_cast<int>(held.size()) < to.size()) held.push_back(-1);
    Remeshing r = remesh(from, to, held);
    for (double& kv : r.kv_bytes) kv = rng.uniform(0, 80);
    const DeviceMapping best = map_devices(r);
    double total = 100.0 * to.replicas;
    for (const double kv : r.kv_bytes) total += kv;
    CHECK(best.reused_bytes + best.moved_weight_bytes + best.moved_kv_bytes == Approx(total));
    double in_order = 0;  // weights alone, as counting GPUs gives positions
    for (int p = 0; p < to.size(); ++p) {
      const int before = held[static_cast<std::size_t>(p)];
      if (before >= 0) in_order += 100 * share_of(from, before).overlap(share_of(to, p));
    }
    CHECK(best.reused_bytes >= in_order - 1e-9);
  }
}

TEST_CASE("are fewer GPUs than positions refused?") {
  CHECK_THROWS_AS(map_devices(remesh({1, 1, 2}, {1, 1, 4}, {0, 1})), ConfigError);
}
