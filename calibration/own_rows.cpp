#include "calibration/own_rows.hpp"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "cost/alpha_beta.hpp"
#include "ops/kernel_classes.hpp"

namespace orrery::calibrate {

namespace {
// Rows that a fit needs: several times its coefficients, a quarter of them being held out.
constexpr std::size_t kForGemm = 60, kForAttention = 60, kForLine = 8, kForGeneric = 16;

DType sixteen(DType t) {
  return t == DType::fp16 ? DType::bf16 : t;
}

bool is_attention(const KernelClass* cls) {
  return cls == &kAttentionPrefill || cls == &kAttentionDecode;
}

/// What is fitted as one: a class in its formats, a collective among its ranks.
struct Group {
  std::string kernel_class, format;
  auto operator<=>(const Group&) const = default;
  std::string text() const { return kernel_class + (format.empty() ? "" : " " + format); }
};

std::string formats(DType arithmetic, DType stored) {
  return fmt::format("{}/{}", name(arithmetic), name(stored));
}
Group group(const GemmRow& r) {
  return {"gemm", formats(r.dtype, r.weight_dtype())};
}
Group group(const CollectiveRow& r) {
  return {r.kernel_class, fmt::format("{:.0f} ranks", r.ranks)};
}
Group group(const RowKernelRow& r) {
  return {r.kernel_class, ""};
}
Group attention_group(const KernelClass& cls, const AttentionRow& r) {
  return {std::string(cls.name), formats(DType::bf16, r.kv_dtype)};
}
Group group(const GenericRow& r) {
  return {std::string(r.cls->name), formats(r.dtype, r.weight_dtype)};
}

Group group(const LayerRow& r) {
  const KernelCall& call = target_call(r);
  return {std::string(r.target->name), formats(call.dtype, call.weight_dtype)};
}

/// The group of a row of ours, and how many rows its fit needs.
struct Target {
  Group group;
  std::size_t needed = kForGeneric;
  bool has_form = false;
};

GemmRow gemm_row(const MeasuredRow& r) {
  GemmRow row{r.dtype, r.dims[0], r.dims[1], r.dims[2], r.seconds, std::nullopt, true};
  if (r.weight_dtype != r.dtype) row.stored = r.weight_dtype;
  return row;
}

AttentionRow prefill_row(const MeasuredRow& r) {
  const auto& d = r.dims;
  return {d[0], d[1] / d[0], d[5], d[6], d[7], 0, r.seconds, sixteen(r.weight_dtype), d};
}

AttentionRow decode_row(const MeasuredRow& r) {
  const auto& d = r.dims;
  return {d[0], d[1] / d[0], d[2], d[3], d[4], 0, r.seconds, sixteen(r.weight_dtype), d};
}

CollectiveRow collective_row(const KernelClass& cls, const MeasuredRow& r) {
  return {std::string(cls.name), r.dims[0], r.dims[1], r.seconds};
}

RowKernelRow row_kernel_row(const KernelClass& cls, const MeasuredRow& r) {
  return {std::string(cls.name), r.dims[0] * r.dims[1], r.seconds, true};
}

GenericRow generic_row(const KernelClass& cls, const MeasuredRow& r) {
  return {&cls, r.dims, r.dtype, r.weight_dtype, r.seconds, true};
}

/// The forms divide by their dimensions and take their logarithms.
void check_positive(const KernelClass& cls, const MeasuredRow& r) {
  for (std::size_t i = 0; i < r.dims.size() && !cls.dims[i].empty(); ++i) {
    if (r.dims[i] > 0) continue;
    throw ConfigError(fmt::format("a measured row of {} has {} = 0", cls.name, cls.dims[i]),
                      "delete the row: nothing was launched");
  }
}

Target target(const KernelClass& cls, const MeasuredRow& r) {
  if (&error_class(cls) == &kGemm) return {group(gemm_row(r)), kForGemm, true};
  if (is_attention(&cls) && sixteen(r.dtype) == DType::bf16) {
    return {attention_group(cls, &cls == &kAttentionPrefill ? prefill_row(r) : decode_row(r)), kForAttention,
            true};
  }
  if (is_collective(cls)) return {group(collective_row(cls, r)), kForLine, true};
  if (&cls == &kElementwise) return {group(row_kernel_row(cls, r)), kForLine, true};
  return {group(generic_row(cls, r)), kForGeneric, false};
}

void add_to_form(const KernelClass& cls, const MeasuredRow& r, KernelRows& out) {
  if (&error_class(cls) == &kGemm) {
    out.gemm.push_back(gemm_row(r));
  } else if (&cls == &kAttentionPrefill) {
    out.prefill.push_back(prefill_row(r));
  } else if (&cls == &kAttentionDecode) {
    out.decode.push_back(decode_row(r));
  } else if (&cls == &kElementwise) {
    out.row_kernels.push_back(row_kernel_row(cls, r));
  } else {
    out.collectives.push_back(collective_row(cls, r));
  }
}

/// Moves those rows of `from` to `to` whose group `taken` does not hold; adds their classes.
template <class Row, class GroupOf>
std::size_t take(const std::vector<Row>& from, std::vector<Row>& to, const std::set<Group>& taken,
                 GroupOf group_of, std::set<std::string>& classes) {
  std::size_t count = 0;
  for (const auto& row : from) {
    const Group g = group_of(row);
    if (taken.contains(g)) continue;
    to.push_back(row);
    classes.insert(g.kernel_class);
    ++count;
  }
  return count;
}

void take_published(const KernelRows& table, const std::set<Group>& ours, KernelRows& out) {
  const auto plain = [](const auto& r) { return group(r); };
  const auto prefill = [](const AttentionRow& r) { return attention_group(kAttentionPrefill, r); };
  const auto decode = [](const AttentionRow& r) { return attention_group(kAttentionDecode, r); };
  std::set<std::string> classes;
  const std::size_t rows = take(table.gemm, out.gemm, ours, plain, classes) +
                           take(table.prefill, out.prefill, ours, prefill, classes) +
                           take(table.decode, out.decode, ours, decode, classes) +
                           take(table.collectives, out.collectives, ours, plain, classes) +
                           take(table.row_kernels, out.row_kernels, ours, plain, classes) +
                           take(table.generic, out.generic, ours, plain, classes) +
                           take(table.layers, out.layers, ours, plain, classes);
  if (rows == 0) return;
  FitSource source = table.sources.front();
  source.rows = static_cast<std::int64_t>(rows);
  source.classes.assign(classes.begin(), classes.end());
  out.sources.push_back(std::move(source));
}

std::set<Group> groups_of(const std::vector<KernelRows>& tables) {
  std::set<Group> all;
  for (const auto& t : tables) {
    for (const auto& r : t.gemm) all.insert(group(r));
    for (const auto& r : t.prefill) all.insert(attention_group(kAttentionPrefill, r));
    for (const auto& r : t.decode) all.insert(attention_group(kAttentionDecode, r));
    for (const auto& r : t.collectives) all.insert(group(r));
    for (const auto& r : t.row_kernels) all.insert(group(r));
  }
  return all;
}
}  // namespace

KernelRows merged(const std::vector<KernelRows>& published, const std::vector<MeasuredTable>& own) {
  std::map<const KernelClass*, std::vector<MeasuredRow>> by_class;
  for (const auto& table : own) {
    auto& rows = by_class[table.cls];
    rows.insert(rows.end(), table.rows.begin(), table.rows.end());
  }
  std::map<Group, std::size_t> counts;
  for (auto& [cls, rows] : by_class) {
    rows = fastest_medians(std::move(rows), Kernels::of_engines);
    for (const auto& r : rows) {
      const Target t = target(*cls, r);
      if (t.has_form) check_positive(*cls, r);
      ++counts[t.group];
    }
  }
  const std::set<Group> theirs = groups_of(published);
  KernelRows out;
  std::set<Group> ours, left;
  for (const auto& [cls, rows] : by_class) {
    for (const auto& r : rows) {
      const Target t = target(*cls, r);
      const std::size_t count = counts[t.group];
      if (t.has_form && count >= t.needed) {
        add_to_form(*cls, r, out);
      } else if (!theirs.contains(t.group) && count >= kForGeneric) {
        out.generic.push_back(generic_row(*cls, r));
      } else {
        if (left.insert(t.group).second) {
          out.notes.push_back(
              fmt::format("{}: {} measured shapes are too few to fit; the measured cost model "
                          "prices them as they are",
                          t.group.text(), count));
        }
        continue;
      }
      ours.insert(t.group);
    }
  }
  for (const auto& table : own) {
    const bool used = std::any_of(table.rows.begin(), table.rows.end(), [&](const MeasuredRow& r) {
      return ours.contains(target(*table.cls, r).group);
    });
    if (!used) continue;
    out.sources.push_back({table.file,
                           table.provenance.empty() ? "no provenance recorded" : table.provenance,
                           static_cast<std::int64_t>(table.rows.size()),
                           true,
                           {std::string(table.cls->name)}});
  }
  for (const auto& table : published) take_published(table, ours, out);
  return out;
}

}  // namespace orrery::calibrate
