#pragma once

#include <string>

#include "report/summary.hpp"

namespace orrery {

struct RenderOptions {
  bool color = false;  ///< ANSI colours (the caller looks at the terminal and NO_COLOR)
  bool ascii = false;  ///< only 7-bit characters
  int width = 100;     ///< columns; long lines are broken there
  double wall_s = 0;   ///< how long the simulation took; 0 = not told
};

/// What `color`, `ascii` and `width` should be for a file descriptor: a terminal without NO_COLOR and with a
/// UTF-8 locale gets everything; $COLUMNS overrides the width.
RenderOptions render_options_for(int fd);

/// How a run came out, for people.
struct Verdict {
  std::string badge;     ///< PASS, FAIL or UNSTABLE; "" = there is nothing to judge
  std::string text;      ///< "8x H100 (tp4, 2 replicas) misses the SLO on code"
  std::string how = {};  ///< its circumstances; "" = none worth telling
};
Verdict judge(const Summary& summary, const RenderOptions& options = {});

/// The verdict first, then the table of latencies, throughput, load, GPU time, confidence and warnings.
std::string render_verdict_and_table(const Summary& summary, const RenderOptions& options = {});

/// The verdict alone, on one line whatever the width.
std::string render_verdict(const Summary& summary, const RenderOptions& options = {});

}  // namespace orrery
