#include "dry_meter.hpp"

namespace orrery::profile {

std::vector<double> DryMeter::sample(const Sampling& s) {
  constexpr double decades = 1e9, launch_s = 1, s_per_byte = 1e-6, s_per_flop = 1e-8;
  const Work& work = s.what->call.work;
  const double made_up = decades * (launch_s + work.hbm_bytes() * s_per_byte + work.flops() * s_per_flop);
  std::vector<double> out;
  for (int i = 0; i < s.samples; ++i) {
    draws_ = draws_ * 1664525U + 1013904223U;  // Numerical Recipes, 2nd ed., section 7.1
    out.push_back(made_up * (s.cold ? 1.0 : 0.9) * (1 + 0.02 * static_cast<double>(draws_ >> 8) / (1 << 24)));
  }
  return out;
}

}  // namespace orrery::profile
