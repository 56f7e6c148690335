#pragma once

#include "workload/csv_reader.hpp"
#include "workload/trace_reader.hpp"

namespace orrery {

/// A CSV trace whose rows are a time, prompt tokens and output tokens: Azure, Vidur, APEX. They differ in the
/// names of the columns and in how a time is written.
class TimedCsvReader final : public TraceReader {
 public:
  /// Nanoseconds from the field of `column`. Errors: BadRow through CsvReader::fail.
  using ParseTime = std::int64_t (*)(const CsvReader& csv, int column);

  struct Columns {
    const char *time, *prompt, *output;
    bool time_may_lack = false;    ///< without it the trace has lengths only
    const char* images = nullptr;  ///< a column that may lack
  };
  TimedCsvReader(ByteStreamPtr stream, const std::string& name, const Columns& c, ParseTime parse)
      : csv_(std::move(stream), name),
        time_(c.time_may_lack ? csv_.column_if({c.time}) : csv_.column({c.time})),
        prompt_(csv_.column({c.prompt})),
        output_(csv_.column({c.output})),
        images_(c.images != nullptr ? csv_.column_if({c.images}) : -1),
        parse_(parse) {}

  bool next(TraceRow& row) override {
    if (!csv_.next()) return false;
    row.time_ns = time_ >= 0 ? parse_(csv_, time_) : kNoTime;
    row.prompt_tokens = csv_.tokens(prompt_);
    row.output_tokens = csv_.tokens(output_);
    row.images = images_ >= 0 ? csv_.tokens(images_, 0) : 0;
    return true;
  }
  long line() const override { return csv_.line(); }

 private:
  CsvReader csv_;
  int time_, prompt_, output_, images_;
  ParseTime parse_;
};

}  // namespace orrery
