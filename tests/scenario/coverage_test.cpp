#include "scenario/coverage.hpp"

#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include "cost/measured.hpp"
#include "ops/kernel_classes.hpp"
#include "support/fake_engine.hpp"
#include "support/temporary_folder.hpp"

using namespace orrery;
namespace fs = std::filesystem;

namespace {

KernelPlan graphs() {
  KernelPlan plan;
  plan.graph_sizes = {1, 2, 4, 8, 16};
  return plan;
}

std::shared_ptr<StepPricer> pricer_with(KernelCostModelPtr cost, const std::string& model = "llama-3.1-8b") {
  DeviceProfile device;
  device.name = "test";
  device.tensor_flops_per_s.fill(500e12);
  device.memory_bandwidth_bytes_per_s = 2e12;
  device.sm_count = 100;
  return std::make_shared<StepPricer>(load_model(model), Shard{}, device, Topology{}, graphs(),
                                      std::move(cost));
}

struct Seen {
  Coverage coverage;
  TimeShares shares;  ///< the pricer's own account
};

/// Requests of three sorts, so that there are pure and mixed steps, chunks with a past, and prompts above 512
/// tokens.
Seen simulated(const std::shared_ptr<StepPricer>& pricer, bool stepwise = false) {
  ReplicaConfig replica;
  replica.pricer = pricer;
  replica.scheduler.max_num_batched_tokens = 1000;
  replica.scheduler.max_model_len = 8192;
  replica.kv.blocks = 4000;
  ClusterConfig cluster;
  cluster.replicas = {replica};
  cluster.stepwise = stepwise;
  std::vector<Request> requests;
  for (int i = 0; i < 30; ++i) {
    Request r;
    r.id = i;
    r.arrival = to_ps(Seconds(0.02 * i));
    r.prompt_tokens = i % 3 == 0 ? 1700 : 90 + 7 * i;
    r.output_tokens = 40 + 11 * (i % 5);
    requests.push_back(r);
  }
  test::ListSource source(requests);
  CoverageRecorder recorder(pricer);
  Observer* observers[] = {&recorder};
  REQUIRE(simulate(cluster, source, observers).completed == 30);
  return {recorder.coverage(), pricer->shares()};
}

double sum(const std::array<double, kProvenanceCount>& seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

/// Remembers every call of one class it was asked for, and prices as PlainCost.
class Listening final : public KernelCostModel {
 public:
  explicit Listening(const KernelClass* cls) : cls_(cls) {}
  KernelTime price(const KernelCall& call) const override {
    const KernelTime time = plain_.price(call);
    if (call.cls == cls_) asked[call.dims] = {call, time};
    return time;
  }
  ClassError error(const KernelClass& c, Provenance p) const override { return plain_.error(c, p); }
  std::vector<std::string> sources() const override { return {}; }
  mutable std::map<KernelClass::Dims, std::pair<KernelCall, KernelTime>> asked;

 private:
  const KernelClass* cls_;
  test::PlainCost plain_;
};

/// A measured table with every shape the simulation asks for in one class, at the times it was told: the
/// schedule stays as it was.
void measure_all(const fs::path& folder, const KernelClass& cls) {
  const auto listening = std::make_shared<Listening>(&cls);
  simulated(pricer_with(listening));
  std::ofstream out(folder / "rows.csv");
  out << "# class: " << cls.name << "\n";
  std::size_t dims = 0;
  for (; dims < cls.dims.size() && !cls.dims[dims].empty(); ++dims) out << cls.dims[dims] << ',';
  out << "dtype,weight_dtype,time_s\n";
  for (const auto& [shape, priced] : listening->asked) {
    const auto& [call, time] = priced;
    for (std::size_t d = 0; d < dims; ++d) out << fmt::format("{},", shape[d]);
    out << fmt::format("{},{},{}\n", name(call.dtype), name(call.weight_dtype), time.time.value);
  }
}

const ClassCoverage& of(const Coverage& c, std::string_view cls) {
  const auto at = std::find_if(c.classes.begin(), c.classes.end(),
                               [&](const ClassCoverage& k) { return k.cls->name == cls; });
  REQUIRE(at != c.classes.end());
  return *at;
}

}  // namespace

TEST_CASE("does coverage find the time that the run itself accounted for, in each class?") {
  for (const char* model : {"llama-3.1-8b", "gemma-2-9b"}) {
    const Seen seen = simulated(pricer_with(std::make_shared<test::PlainCost>(), model));
    CHECK(seen.coverage.classes.size() == seen.shares.by_class.size());
    for (const auto& [cls, seconds] : seen.shares.by_class) {
      CHECK(of(seen.coverage, cls).seconds == Approx(seconds).epsilon(1e-4));
    }
  }
}

TEST_CASE("do whole runs need the same shapes as single steps?") {
  const Coverage runs = simulated(pricer_with(std::make_shared<test::PlainCost>())).coverage;
  const Coverage steps = simulated(pricer_with(std::make_shared<test::PlainCost>()), true).coverage;
  CHECK(runs.steps == steps.steps);
  CHECK(runs.step_seconds == Approx(steps.step_seconds).epsilon(1e-9));
  REQUIRE(runs.cells.size() == steps.cells.size());
  CHECK(runs.kernel_seconds == Approx(steps.kernel_seconds).epsilon(1e-9));
}

TEST_CASE("do the shares sum to the whole?") {
  const Coverage c = simulated(pricer_with(std::make_shared<test::PlainCost>())).coverage;
  double classes = 0, cells = 0;
  for (const auto& k : c.classes) {
    classes += c.share(k.seconds);
    CHECK(sum(k.by_provenance) == Approx(k.seconds));
  }
  for (const auto& cell : c.cells) cells += c.share(cell.seconds);
  CHECK(classes == Approx(1));
  CHECK(cells == Approx(1));
  CHECK(c.share(sum(c.by_provenance)) == Approx(1));
  CHECK(c.kernel_seconds <= c.step_seconds);
}

TEST_CASE("is a class all of whose shapes were run wholly measured, and no other?") {
  for (const KernelClass* cls : {&kGemm, &kAttentionDecode, &kAttentionPrefill, &kSampling}) {
    const TemporaryFolder tables{std::string(cls->name)};
    measure_all(tables.path, *cls);
    const auto cost = make_measured(tables.path.string(), std::make_shared<test::PlainCost>());
    const Coverage c = simulated(pricer_with(cost)).coverage;
    for (const auto& k : c.classes) {
      const double measured = k.by_provenance[static_cast<std::size_t>(Provenance::measured)] / k.seconds;
      CHECK(measured == Approx(k.cls == cls ? 1 : 0));
    }
    CHECK(c.calibrated_share() == Approx(c.share(of(c, cls->name).seconds)));
    for (const auto& shape : c.wanted(1000)) CHECK(shape.cls != cls);
    // Table and need meet: the rows behind the class reach at least as far as what is needed.
    const auto& covered = of(c, cls->name);
    REQUIRE(covered.ranges.size() == 1);
    for (std::size_t d = 0; d < covered.needed.size(); ++d) {
      CHECK(covered.ranges.front().quantities[d].low <= covered.needed[d].low);
      CHECK(covered.ranges.front().quantities[d].high >= covered.needed[d].high);
    }
  }
}

TEST_CASE("are the shapes to measure ones that the prices were asked for?") {
  for (const KernelClass* cls : {&kGemm, &kAttentionDecode, &kAttentionPrefill}) {
    const auto listening = std::make_shared<Listening>(cls);
    const Coverage c = simulated(pricer_with(listening)).coverage;
    std::size_t found = 0;
    for (const auto& shape : c.wanted(100000)) {
      if (shape.cls != cls) continue;
      CHECK(listening->asked.count(shape.shape) == 1);
      ++found;
    }
    CHECK(found > 2);
  }
}

TEST_CASE("do time and error decide what is measured first?") {
  const Coverage c = simulated(pricer_with(std::make_shared<test::PlainCost>())).coverage;
  const auto first = c.wanted(5);
  REQUIRE(first.size() == 5);
  for (std::size_t i = 0; i < c.cells.size(); ++i) {
    CHECK(c.cells[i].seconds * c.cells[i].error <= first.front().seconds * first.front().error);
  }
  for (std::size_t i = 1; i < first.size(); ++i) {
    CHECK(first[i].seconds * first[i].error <= first[i - 1].seconds * first[i - 1].error);
  }
}

TEST_CASE("does a cell show the shape that took most of its time?") {
  ShapeHistogram h;
  const auto at = [](double m) { return make_call(kGemm, {m, 4096, 4096}, DType::bf16, DType::bf16); };
  h.add(at(1000), Provenance::analytic, 1);
  h.add(at(1010), Provenance::analytic, 5);
  h.add(at(1020), Provenance::analytic, 2);
  h.add(at(2000), Provenance::analytic, 1);  // another cell
  h.add(at(1015), Provenance::measured, 7);  // another provenance
  const Coverage c = h.coverage(test::PlainCost{});
  REQUIRE(c.cells.size() == 3);
  CHECK(c.cells[0].shape[0] == 1010);
  CHECK(c.cells[0].low[0] == 1000);
  CHECK(c.cells[0].high[0] == 1020);
  CHECK(c.cells[0].seconds == 8);
  CHECK(c.cells[2].provenance == Provenance::measured);  // nothing to gain there
  CHECK(c.wanted(9).size() == 2);
}

TEST_CASE("does the range of a dimension leave out what takes less than a hundredth of the time?") {
  ShapeHistogram h;
  const auto add = [&](double m, double seconds) {
    h.add(make_call(kGemm, {m, 4096, 4096}, DType::bf16, DType::bf16), Provenance::analytic, seconds);
  };
  add(1, 0.4), add(16, 49.2), add(64, 50), add(8192, 0.4);
  const Coverage c = h.coverage(test::PlainCost{});
  const auto& m = c.classes.front().needed.front();
  CHECK(m.name == "m");
  CHECK(m.low == 16);
  CHECK(m.high == 64);
}

TEST_CASE("does the file of shapes have a section per class, in the columns of measured tables?") {
  ShapeHistogram h;
  h.add(make_call(kGemm, {16, 4096, 14336}, DType::bf16, DType::int4), Provenance::analytic, 3);
  h.add(make_call(kSampling, {16, 128256}, DType::fp32, DType::fp32), Provenance::analytic, 1);
  const Coverage c = h.coverage(test::PlainCost{});
  CHECK(shapes_csv(c, c.wanted(10), "for a test") ==
        "# for a test\n"
        "# class: gemm\nm,n,k,dtype,weight_dtype,weight\n16,4096,14336,bf16,int4,0.75\n"
        "# class: sampling\nrows,vocab,dtype,weight_dtype,weight\n16,128256,fp32,fp32,0.25\n");
  CHECK(shapes_csv(c, {}, "").empty());
}
