#include "queues.hpp"

#include <algorithm>
#include <unordered_set>

#include <fmt/format.h>

namespace orrery::profile {

namespace {

constexpr std::size_t kExtrasEvery = 8;
constexpr std::size_t kHeaviest = 300;  ///< cases: a sweep of thousands does not starve the others

void mark_extras(Queue& queue) {
  Job* largest = nullptr;
  std::size_t i = 0;
  for (Job& job : queue.jobs) {
    if (i++ % kExtrasEvery == 0) job.extras = {true, true};
    if (largest == nullptr || rough_seconds(job.what) > rough_seconds(largest->what)) largest = &job;
  }
  if (largest != nullptr) largest->extras = {true, true};
}

}  // namespace

std::vector<Queue> sweep_queues(const std::vector<std::string>& components, const kernels::DeviceInfo& device,
                                bool check_cases) {
  std::vector<Queue> queues;
  for (const auto& name : components) {
    const kernels::Component& component = *Registry<kernels::Components>::find(name).make;
    Queue queue;
    queue.component = name;
    for (auto& c : check_cases ? component.checks() : component.sweep(device)) {
      Job job{name, std::move(c)};
      if (!unsupported(job, device)) queue.jobs.push_back(std::move(job));
    }
    if (queue.jobs.empty()) continue;
    queue.weight = static_cast<double>(std::min(queue.jobs.size(), kHeaviest));
    mark_extras(queue);
    queues.push_back(std::move(queue));
  }
  return queues;
}

Queue wanted_queue(const std::string& path, const CaseFinder& finder, std::vector<std::string>& unserved) {
  Queue queue;
  queue.component = "wanted shapes";
  std::unordered_set<std::string> met;
  for (const auto& [cls, shape] : read_rows(path)) {
    const auto jobs = finder.of_shape(*cls, shape);
    if (jobs.empty())
      unserved.push_back(fmt::format("{} {}", cls->name, shape.key.substr(0, shape.key.find('|'))));
    for (const Job& job : jobs) {
      if (met.insert(std::string(cls->name) + row_key(job)).second) queue.jobs.push_back(job);
    }
  }
  mark_extras(queue);
  return queue;
}

}  // namespace orrery::profile
