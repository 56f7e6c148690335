#include "cost/scaled.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "base/data_dir.hpp"
#include "base/json.hpp"
#include "base/registry.hpp"
#include "cost/roofline.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery {

namespace {
std::map<std::string, ClassError> widest(const DeviceProfile& from, const DeviceProfile& to) {
  const bool same = from.architecture == to.architecture;
  std::map<std::string, ClassError> out;
  for (const auto& t : load_transfer_errors()) {
    if (t.same_architecture != same) continue;
    for (const auto& [cls, error] : t.errors) {
      if (error.log_sigma > out[cls].log_sigma) out[cls] = error;
    }
  }
  return out;
}
}  // namespace

std::string transfer_file() {
  return data_dir() + "/hwprofiles/transfer.json";
}

std::vector<TransferError> load_transfer_errors() {
  std::vector<TransferError> out;
  if (!std::filesystem::exists(transfer_file())) return out;
  JsonView v(JsonDocument::load(transfer_file()));
  v.ignore("note");
  for (auto& t : v.objects("transfers")) {
    TransferError e{t.text("from"), t.text("to"), t.boolean_or("same_architecture", false), {}, {}};
    auto errors = t.object("errors");
    for (const auto& cls : errors.keys()) {
      auto c = errors.object(cls);
      e.errors[cls] = {c.number("median_abs"), c.number("p90_abs"), c.number("log_sigma")};
      c.finish();
    }
    for (auto& h : t.objects("regions")) {
      e.regions.push_back({h.text("class"), h.text("dtype"), h.text("region"), "all", h.integer("rows"),
                           h.number("median_abs"), h.number("p90_abs"), h.number("bias"), 0, 0});
      h.finish();
    }
    t.finish();
    out.push_back(std::move(e));
  }
  v.finish();
  return out;
}

std::string to_json(const std::vector<TransferError>& all) {
  using Ordered = nlohmann::ordered_json;
  const auto rounded = [](double x) { return std::round(x * 1e4) / 1e4; };
  Ordered o;
  o["note"] =
      "written by `orrery calibrate transfer`: how far a fit scaled by datasheet ratios is off on the "
      "target's "
      "own published tables; the error bars of devices without a fit";
  o["transfers"] = Ordered::array();
  for (const auto& t : all) {
    Ordered errors = Ordered::object(), regions = Ordered::array();
    for (const auto& [cls, e] : t.errors) {
      errors[cls] = {{"median_abs", rounded(e.median_abs)},
                     {"p90_abs", rounded(e.p90_abs)},
                     {"log_sigma", rounded(e.log_sigma)}};
    }
    for (const auto& h : t.regions) {
      regions.push_back({{"class", h.kernel_class},
                         {"dtype", h.dtype},
                         {"region", h.region},
                         {"rows", h.rows},
                         {"median_abs", rounded(h.median_abs)},
                         {"p90_abs", rounded(h.p90_abs)},
                         {"bias", rounded(h.bias)}});
    }
    o["transfers"].push_back({{"from", t.from},
                              {"to", t.to},
                              {"same_architecture", t.same_architecture},
                              {"errors", errors},
                              {"regions", regions}});
  }
  return o.dump(1) + "\n";
}

ScaledModel::ScaledModel(const DeviceProfile& from, const DeviceProfile& to, const Topology& topology)
    : from_(from.name),
      to_(to.name),
      errors_(widest(from, to)),
      fitted_(std::make_unique<FittedModel>(scaled_fit(FitFile::load(from.folder + "/fit.json"), from, to),
                                            to, topology, make_analytic(to, topology))) {}

KernelTime ScaledModel::price(const KernelCall& call) const {
  KernelTime t = fitted_->price(call);
  t.provenance = std::max(t.provenance, Provenance::extrapolated);
  return t;
}

ClassError ScaledModel::error(const KernelClass& cls, Provenance provenance) const {
  if (provenance == Provenance::analytic) return analytic_error(cls);
  const auto at = errors_.find(std::string(error_class(cls).name));
  return at == errors_.end() ? analytic_error(cls) : at->second;
}

std::vector<std::string> ScaledModel::sources() const {
  std::vector<std::string> lines{to_ + ": not measured; times of " + from_ + " scaled by datasheet ratios"};
  for (auto& line : fitted_->sources()) lines.push_back(std::move(line));
  return lines;
}

KernelCostModelPtr make_unmeasured(const DeviceProfile& device, const Topology& topology) {
  const auto from = nearest_fitted(device);
  if (!from) return make_analytic(device, topology);
  return std::make_shared<ScaledModel>(*from, device, topology);
}

namespace {
/// `fit`: the folder or name of the device to scale from; "" = the nearest.
KernelCostModelPtr make_scaled(const DeviceProfile& device, const Topology& topology,
                               const std::string& fit) {
  const auto from = fit.empty() ? nearest_fitted(device) : std::optional(load_device(fit));
  if (!from) {
    throw ConfigError(
        "no fitted device of vendor '" + device.vendor + "' to scale '" + device.name + "' from",
        "use --cost-model analytic", ExitCode::no_device);
  }
  return std::make_shared<ScaledModel>(*from, device, topology);
}

const Registration<CostModels> scaled{
    "scaled", "the nearest fitted device's times, scaled by datasheet ratios", make_scaled};
}  // namespace

}  // namespace orrery
