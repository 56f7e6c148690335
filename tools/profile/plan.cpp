#include "plan.hpp"

#include <algorithm>
#include <set>

#include "base/error.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery::profile {

Plan::Plan(std::vector<Queue> queues) {
  for (Queue& q : queues) turns_.push_back({std::move(q), 0});
}

std::optional<Job> Plan::next() {
  Turn* least = nullptr;
  for (Turn& t : turns_) {
    if (t.queue.jobs.empty()) continue;
    if (least == nullptr || t.seconds / t.queue.weight < least->seconds / least->queue.weight) least = &t;
  }
  if (least == nullptr) return std::nullopt;
  Job job = std::move(least->queue.jobs.front());
  least->queue.jobs.pop_front();
  return job;
}

void Plan::spent(const std::string& component, double seconds) {
  for (Turn& t : turns_) {
    if (t.queue.component == component) t.seconds += seconds;
  }
}

void Plan::drop(const std::string& component) {
  std::erase_if(turns_, [&](const Turn& t) { return t.queue.component == component; });
}

std::size_t Plan::left() const {
  std::size_t jobs = 0;
  for (const Turn& t : turns_) jobs += t.queue.jobs.size();
  return jobs;
}

double rough_seconds(const kernels::Case& c) {
  // Allocation and inputs; then some 40 launches, each with its L2 read through, at a middling GPU's pace.
  constexpr double make_s = 0.02, launches = 40, between_s = 1e-4, bytes_per_s = 2e12, flops_per_s = 3e14;
  const Work& work = c.call.work;
  return make_s + launches * (between_s + work.hbm_bytes() / bytes_per_s + work.flops() / flops_per_s +
                              work.host_bytes / 2e10);
}

std::vector<std::string> chosen_components(const std::vector<std::string>& only,
                                           const kernels::DeviceInfo& device) {
  std::vector<std::string> chosen, known;
  std::set<std::string> met;
  for (const auto& entry : Registry<kernels::Components>::entries()) {
    std::set<std::string> words{entry.name};
    for (const auto& c : entry.make->sweep(device)) words.insert(std::string(c.call.cls->name));
    const auto asked = [&](const std::string& word) { return words.contains(word); };
    if (only.empty() || std::any_of(only.begin(), only.end(), asked)) chosen.push_back(entry.name);
    known.insert(known.end(), words.begin(), words.end());
    met.insert(words.begin(), words.end());
  }
  for (const auto& word : only) {
    if (met.contains(word)) continue;
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    throw ConfigError("--only: '" + word + "' is neither a component nor a class one measures",
                      suggestion(word, known), ExitCode::usage);
  }
  return chosen;
}

}  // namespace orrery::profile
