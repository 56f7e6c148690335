#pragma once

#include <string>
#include <vector>

namespace orrery {

/// One kind of thing that has names: what `orrery list KIND` prints and the shell completes.
struct Listing {
  struct Entry {
    std::string name, help;
  };
  std::string kind;         ///< "routers"
  std::string help;         ///< one line
  std::string placeholder;  ///< of options whose values they are: "ROUTER"; "" = none
  std::vector<Entry> (*entries)();
};

const std::vector<Listing>& listings();

}  // namespace orrery
