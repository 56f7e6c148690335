#include "calibration/kernel_rows.hpp"

#include <algorithm>
#include <filesystem>
#include <tuple>

#include "base/error.hpp"
#include "base/quantile.hpp"
#include "base/registry.hpp"
#include "calibration/csv_table.hpp"
#include "calibration/fit_energy.hpp"
#include "calibration/own_rows.hpp"
#include "cost/measured_table.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery::calibrate {

namespace fs = std::filesystem;

namespace {
constexpr double kMs = 1e-3;

/// aiconfigurator: constant columns are dropped from the table and listed in its comment; the GEMM table of a
/// device without fp8 has no dtype column.
std::int64_t read_gemm(const CsvTable& t, KernelRows& out) {
  for (std::size_t i = 0; i < t.rows(); ++i) {
    const DType dtype = t.has("gemm_dtype") ? parse_dtype(t.text(i, "gemm_dtype")) : DType::bf16;
    out.gemm.push_back(
        {dtype, t.number(i, "m"), t.number(i, "n"), t.number(i, "k"), t.number(i, "latency") * kMs});
  }
  return static_cast<std::int64_t>(t.rows());
}

std::int64_t read_attention(const CsvTable& t, bool decode, KernelRows& out) {
  constexpr double kLargestHead = 256;  // above it another kernel runs
  auto& rows = decode ? out.decode : out.prefill;
  std::int64_t taken = 0;
  for (std::size_t i = 0; i < t.rows(); ++i) {
    AttentionRow r;
    r.batch = t.number(i, "batch_size");
    r.length =
        decode ? t.number(i, "step") + 1 : t.number(i, "isl");  // one prompt token, then `step` generated
    r.heads = t.number(i, "num_heads");
    r.kv_heads = t.number(i, "num_key_value_heads");
    r.head_dim = t.number_or(i, "head_dim", 128);
    r.window = t.number_or(i, "window_size", 0);
    r.seconds = t.number(i, "latency") * kMs;
    if (r.head_dim > kLargestHead) continue;
    rows.push_back(r);
    ++taken;
  }
  return taken;
}

/// message_size counts elements. NCCL's all-gather counts the gathered output, so one rank's part is 1/ranks
/// of it.
std::int64_t read_nccl(const CsvTable& t, KernelRows& out) {
  std::int64_t taken = 0;
  for (std::size_t i = 0; i < t.rows(); ++i) {
    const std::string& op = t.text(i, "op_name");
    const bool reduce = op == "all_reduce", gather = op == "all_gather";
    if ((!reduce && !gather) || t.text(i, "nccl_dtype") != "half") continue;
    const double ranks = t.number(i, "num_gpus"), bytes = 2 * t.number(i, "message_size");
    out.collectives.push_back({reduce ? "all_reduce_nccl" : "all_gather", ranks,
                               reduce ? bytes : bytes / ranks, t.number(i, "latency") * kMs});
    ++taken;
  }
  return taken;
}

std::int64_t read_custom_all_reduce(const CsvTable& t, KernelRows& out) {
  // From 8 MiB vLLM's custom kernel declines and its NCCL fallback is what was timed.
  constexpr double kLargest = 8.0 * 1024 * 1024;
  std::int64_t taken = 0;
  for (std::size_t i = 0; i < t.rows(); ++i) {
    const double bytes = 2 * t.number(i, "message_size");
    if (t.text(i, "kernel_source") != "vLLM_custom_graph" || bytes >= kLargest)
      continue;  // eager rows hold launches
    out.collectives.push_back(
        {"all_reduce_custom", t.number(i, "num_gpus"), bytes, t.number(i, "latency") * kMs});
    ++taken;
  }
  return taken;
}

std::int64_t read_vidur_send_recv(const CsvTable& t, KernelRows& out) {
  std::int64_t taken = 0;
  for (std::size_t i = 0; i < t.rows(); ++i) {
    if (t.text(i, "collective") != "send_recv" || t.number(i, "rank") != 0) continue;
    out.collectives.push_back(
        {"send_recv", 2, t.number(i, "size"), t.number(i, "time_stats.send_recv.median") * kMs});
    ++taken;
  }
  return taken;
}

/// Vidur's profile of one layer's small kernels in 16-bit. Only the residual addition (two rows read, one
/// written) is taken: it runs near bandwidth, as the fused norms and activations of today's engines do; the
/// table's own norm, rope and activation kernels (2023) run at a third to a half of it.
std::int64_t read_vidur_mlp(const CsvTable& t, KernelRows& out) {
  constexpr double kElement = 2, kTensors = 3;
  std::int64_t taken = 0;
  for (std::size_t i = 0; i < t.rows(); ++i) {
    const double seconds =
        t.number(i, "time_stats.add.mean") * kMs;  // the median is rounded to a microsecond
    if (seconds <= 0) continue;
    out.row_kernels.push_back(
        {"elementwise", kTensors * kElement * t.number(i, "num_tokens") * t.number(i, "n_embd"), seconds});
    ++taken;
  }
  return taken;
}

void add_exchange(const char* cls, DType dtype, const KernelClass::Dims& dims, double seconds,
                  KernelRows& out) {
  GenericRow row;
  row.cls = Registry<KernelClasses>::find(cls).make;
  row.dims = dims;
  row.dtype = row.weight_dtype = dtype;
  row.seconds = seconds;
  out.generic.push_back(row);
}

/// DeepEP's all-to-all among the 8 GPUs of one node: tokens go out in fp8, sums come back in bf16. Of its
/// normal kernels those on 20 SMs are taken, the library's default.
std::int64_t read_deepep(const CsvTable& t, KernelRows& out) {
  constexpr double kUs = 1e-6, kRanks = 8, kSms = 20;
  const bool low_latency = t.has("dispatch_avg_t_us");
  std::int64_t taken = 0;
  for (std::size_t i = 0; i < t.rows(); ++i) {
    if (!low_latency && (t.number(i, "dispatch_sms") != kSms || t.number(i, "combine_sms") != kSms)) continue;
    const KernelClass::Dims dims{t.number(i, "num_token"), t.number(i, "num_topk"),
                                 t.number(i, "hidden_size"), t.number(i, "num_experts"), kRanks};
    const char* dispatch = low_latency ? "dispatch_avg_t_us" : "dispatch_transmit_us";
    const char* combine = low_latency ? "combine_avg_t_us" : "combine_transmit_us";
    add_exchange(low_latency ? "moe_dispatch_low_latency" : "moe_dispatch", DType::fp8, dims,
                 t.number(i, dispatch) * kUs, out);
    add_exchange(low_latency ? "moe_combine_low_latency" : "moe_combine", DType::bf16, dims,
                 t.number(i, combine) * kUs, out);
    ++taken;
  }
  return taken;
}

/// Reads the table if it is of a kind we fit; returns the rows taken.
std::int64_t read_table(const CsvTable& t, KernelRows& out) {
  if (t.has_all({"m", "n", "k", "latency"})) return read_gemm(t, out);
  if (t.has_all({"batch_size", "step", "num_key_value_heads", "latency"}))
    return read_attention(t, true, out);
  if (t.has_all({"batch_size", "isl", "num_key_value_heads", "latency"}))
    return read_attention(t, false, out);
  if (t.has_all({"num_heads", "batch_size", "step", "tp_size", "kv_cache_dtype"}))
    return read_mla(t, true, out.layers);
  if (t.has_all({"num_heads", "batch_size", "isl", "tp_size", "kv_cache_dtype"}))
    return read_mla(t, false, out.layers);
  if (t.has_all({"inter_size", "topk", "moe_tp_size", "moe_ep_size", "distribution"}))
    return read_moe(t, out.layers);
  if (t.has("dispatch_avg_t_us") || t.has("dispatch_transmit_us")) return read_deepep(t, out);
  if (t.has_all({"op_name", "nccl_dtype", "message_size"})) return read_nccl(t, out);
  if (t.has_all({"kernel_source", "num_gpus", "message_size"})) return read_custom_all_reduce(t, out);
  if (t.has_all({"time_stats.send_recv.median", "size"})) return read_vidur_send_recv(t, out);
  if (t.has_all({"time_stats.add.mean", "num_tokens"})) return read_vidur_mlp(t, out);
  return 0;
}

/// Rows of equal shape become one with their median time; the result is sorted by shape.
template <class Row, class Key>
void reduce_repeats(std::vector<Row>& rows, Key key) {
  std::sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
    return key(a) != key(b) ? key(a) < key(b) : a.seconds < b.seconds;
  });
  std::vector<Row> out;
  for (std::size_t i = 0; i < rows.size();) {
    std::vector<double> times;
    std::size_t j = i;
    for (; j < rows.size() && key(rows[j]) == key(rows[i]); ++j) times.push_back(rows[j].seconds);
    out.push_back(rows[i]);
    out.back().seconds = quantile_sorted(times, 0.5);
    i = j;
  }
  rows = std::move(out);
}

std::string published(const CsvTable& t) {
  if (t.comments().empty()) {
    // Vidur's profiles carry no comment; their columns are their own.
    const bool vidur = t.has_all({"time_stats.send_recv.median"}) || t.has_all({"time_stats.add.mean"});
    return vidur ? "microsoft/vidur, profiling data (MIT)" : "";
  }
  std::string text = t.comments().front();
  if (text.rfind("source: ", 0) == 0) text = text.substr(8);
  return text.substr(0, text.find("; latency in ms"));
}
}  // namespace

KernelRows read_kernel_rows(const std::vector<std::string>& files_or_folders) {
  std::vector<std::string> files;
  for (const auto& f : files_or_folders) {
    if (!fs::is_directory(f)) {
      files.push_back(f);
      continue;
    }
    for (auto& file : csv_files(f)) files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end());
  std::vector<MeasuredTable> own;
  std::vector<KernelRows> published_tables;
  for (const auto& f : files) {
    if (is_measured_table(f)) {
      own.push_back(read_measured_table(f));
      continue;
    }
    const CsvTable t(f);
    KernelRows rows;
    const std::int64_t taken = read_table(t, rows);
    if (taken == 0) continue;
    rows.sources.push_back({fs::path(f).filename().string(), published(t), taken, false, {}});
    published_tables.push_back(std::move(rows));
  }
  KernelRows out = merged(published_tables, own);
  out.energy = fit_energy(own);
  reduce_repeats(out.gemm, [](const GemmRow& r) { return std::tuple(r.dtype, r.m, r.n, r.k, r.stored); });
  const auto attention = [](const AttentionRow& r) {
    return std::tuple(r.head_dim, r.window, r.heads, r.kv_heads, r.batch, r.length, r.kv_dtype, r.dims);
  };
  reduce_repeats(out.prefill, attention);
  reduce_repeats(out.decode, attention);
  reduce_repeats(out.row_kernels, [](const RowKernelRow& r) { return std::tuple(r.kernel_class, r.bytes); });
  reduce_repeats(out.generic, [](const GenericRow& r) {
    return std::tuple(r.cls->name, r.dtype, r.weight_dtype, r.dims);
  });
  reduce_repeats(out.layers, [](const LayerRow& r) {
    const KernelCall& call = target_call(r);
    return std::tuple(r.target->name, call.dtype, call.weight_dtype, r.shape);
  });
  reduce_repeats(out.collectives,
                 [](const CollectiveRow& r) { return std::tuple(r.kernel_class, r.ranks, r.bytes); });
  return out;
}

}  // namespace orrery::calibrate
