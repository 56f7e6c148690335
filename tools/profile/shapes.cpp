#include "shapes.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace orrery::profile {

using kernels::Components;

namespace {
std::string swept_key(const KernelClass& cls, const std::string& row) {
  return std::string(cls.name) + "|" + row;
}
}  // namespace

CaseFinder::CaseFinder(std::vector<std::string> components, const kernels::DeviceInfo& device)
    : components_(std::move(components)), device_(device) {
  for (const auto& name : components_) {
    for (auto& c : Registry<Components>::find(name).make->sweep(device_)) {
      Job job{name, std::move(c)};
      swept_.emplace(swept_key(*job.what.call.cls, row_key(job)), job);
    }
  }
}

std::vector<Job> CaseFinder::ask(const std::string& component, const KernelClass& cls,
                                 const TableRow& shape) const {
  const auto& entry = Registry<Components>::find(component);
  KernelCall call = make_call(cls, shape.dims, shape.dtype, shape.weight_dtype);
  call.role = entry.name;  // what tells row-wise kernels of one class apart
  std::vector<Job> jobs;
  for (auto& c : entry.make->cases_of(call)) {
    Job job{component, std::move(c)};
    if (!unsupported(job, device_)) jobs.push_back(std::move(job));
  }
  return jobs;
}

std::vector<Job> CaseFinder::of_shape(const KernelClass& cls, const TableRow& shape) const {
  std::vector<Job> jobs;
  for (const auto& component : components_) {
    for (auto& job : ask(component, cls, shape)) jobs.push_back(std::move(job));
  }
  return jobs;
}

std::optional<Job> CaseFinder::of_row(const KernelClass& cls, const TableRow& row) const {
  if (const auto it = swept_.find(swept_key(cls, row.key)); it != swept_.end()) {
    return unsupported(it->second, device_) ? std::nullopt : std::optional(it->second);
  }
  auto job = at(cls, row, row.dims);
  return job && row_key(*job) == row.key ? job : std::nullopt;
}

std::optional<Job> CaseFinder::at(const KernelClass& cls, const TableRow& like,
                                  const KernelClass::Dims& dims) const {
  if (std::find(components_.begin(), components_.end(), like.component) == components_.end()) {
    return std::nullopt;
  }
  TableRow shape = like;
  shape.dims = dims;
  // Options that restate dimensions ("width=4096") change with them; of several that do not, the same.
  std::optional<Job> found;
  for (auto& job : ask(like.component, cls, shape)) {
    if (job.what.variant != like.variant) continue;
    if (!found || options_text(job.what) == like.options) found = std::move(job);
  }
  return found;
}

std::optional<std::string> unsupported(const Job& job, const kernels::DeviceInfo& device) {
  return Registry<Components>::find(job.component).make->unsupported(job.what, device);
}

}  // namespace orrery::profile
