#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

/// What the process tells its caller (docs/reference: exit codes).
enum class ExitCode : int {
  ok = 0,
  slo_missed = 1,  ///< an SLO or assertion failed
  usage = 2,       ///< the command line is wrong
  bad_input = 3,   ///< a file or value is wrong
  no_device = 4,   ///< a required measurement or device is absent
  infeasible = 5,  ///< does not fit, or no plan meets the SLO
  internal = 70,   ///< a bug
};

/// The user's input is wrong or cannot be served. Thrown anywhere, caught only in tools/.
/// `what()` is one sentence; the location and the hint are kept apart so that they can be laid out.
class ConfigError : public std::runtime_error {
 public:
  explicit ConfigError(const std::string& message, std::string hint = {}, ExitCode code = ExitCode::bad_input)
      : std::runtime_error(message), hint_(std::move(hint)), code_(code) {}

  /// Where: file, 1-based line and column (0 = unknown), and the offending line's text when known.
  ConfigError& at(std::string file, long line = 0, long column = 0, std::string excerpt = {}) {
    file_ = std::move(file), line_ = line, column_ = column, excerpt_ = std::move(excerpt);
    return *this;
  }
  const std::string& hint() const { return hint_; }
  const std::string& file() const { return file_; }
  const std::string& excerpt() const { return excerpt_; }
  long line() const { return line_; }
  long column() const { return column_; }
  ExitCode code() const { return code_; }

 private:
  std::string hint_, file_, excerpt_;
  long line_ = 0, column_ = 0;
  ExitCode code_;
};

/// A bug in Orrery: an invariant does not hold.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void check_failed(const char* expression, const char* file, int line, const std::string& why);

/// The candidate nearest to `word` (edit distance at most 2, or a third of its length), or "" when none is
/// near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// "Did you mean --x?" when something is near, else the list of valid values: the usual hint.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace orrery

/// Always on, also in release: a broken invariant must not become a wrong prediction.
#define ORRERY_CHECK(expr, why) \
  ((expr) ? static_cast<void>(0) : ::orrery::check_failed(#expr, __FILE__, __LINE__, (why)))
