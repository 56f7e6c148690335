#pragma once

#include <cstdint>
#include <string_view>

namespace orrery {

/// A named stream of random numbers: the same (seed, name) gives the same stream on every platform, and
/// streams of different names are independent, so drawing one more arrival never changes a length.
/// xoshiro256++ (Blackman and Vigna, 2019) seeded by splitmix64 of the seed and an FNV-1a hash of the name.
/// The distributions are our own because those of the standard library differ between implementations.
class Rng {
 public:
  Rng(std::uint64_t seed, std::string_view stream);

  std::uint64_t next();
  double uniform();                                               ///< in [0, 1)
  double uniform(double low, double high);                        ///< in [low, high)
  std::int64_t uniform_int(std::int64_t low, std::int64_t high);  ///< in [low, high], unbiased
  double exponential(double mean);
  double normal(double mean, double stddev);
  double lognormal(double mu, double sigma);  ///< exp(N(mu, sigma^2))
  double gamma(double shape, double scale);   ///< Marsaglia and Tsang, 2000
  double weibull(double shape, double scale);

 private:
  std::uint64_t state_[4];
};

}  // namespace orrery
