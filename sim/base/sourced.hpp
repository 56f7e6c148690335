#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"

namespace orrery {

/// One figure of a data file and where it comes from.
struct SourcedFigure {
  std::string key;     ///< as in the file, nested keys joined by '.'
  std::string value;   ///< as written
  std::string source;  ///< the sentence the file gives for it
  std::string note;    ///< optional remark
};

/// Reads figures of the form {"value": 3.35e12, "source": "datasheet", "note": "..."} where "datasheet" is a
/// key of the file's own "sources" object. Every figure read is kept, so that commands can show where a
/// number comes from. Errors: ConfigError for a missing or unknown source and for the wrong type.
class SourcedReader {
 public:
  explicit SourcedReader(JsonView& document);

  double number(JsonView& parent, const std::string& key, const std::string& prefix = {});
  double number_or(JsonView& parent, const std::string& key, double fallback, const std::string& prefix = {});
  bool boolean(JsonView& parent, const std::string& key, const std::string& prefix = {});
  std::string text(JsonView& parent, const std::string& key, const std::string& prefix = {});
  /// Any type; the caller checks it.
  Json value(JsonView& parent, const std::string& key, const std::string& prefix = {});
  std::vector<double> numbers(JsonView& parent, const std::string& key, const std::string& prefix = {});

  const std::vector<SourcedFigure>& figures() const { return figures_; }

 private:
  template <class Read>
  auto figure(JsonView& parent, const std::string& key, const std::string& prefix, Read read);

  std::map<std::string, std::string> sources_;
  std::vector<SourcedFigure> figures_;
};

}  // namespace orrery
