#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace orrery {

/// Named alternatives of one kind (trace readers, schedulers, routers, ...). Each lives in one .cpp that ends
/// in
///
///   const Registration<Router> round_robin{"round_robin", "each request to the next replica", make};
///
/// `Kind` names the kind for messages (`Kind::kind`) and the value type that is registered (`Kind::Factory`).
/// `orrery list` and the reference pages are generated from the names and help lines here.
template <class Kind>
class Registry {
 public:
  struct Entry {
    std::string name;
    std::string help;
    typename Kind::Factory make;
  };

  static const std::vector<Entry>& entries() { return storage(); }

  static const Entry& find(std::string_view name) {
    for (const auto& e : storage()) {
      if (e.name == name) return e;
    }
    throw ConfigError("unknown " + std::string(Kind::kind) + " '" + std::string(name) + "'",
                      suggestion(name, names()));
  }

  static std::vector<std::string> names() {
    std::vector<std::string> out;
    for (const auto& e : storage()) out.push_back(e.name);
    return out;
  }

  static void add(Entry entry) {
    auto& all = storage();
    const auto after =
        std::find_if(all.begin(), all.end(), [&](const Entry& e) { return e.name > entry.name; });
    all.insert(after, std::move(entry));  // sorted: the order must not depend on the order of linking
  }

 private:
  static std::vector<Entry>& storage() {
    static std::vector<Entry> all;
    return all;
  }
};

/// Adds one entry to its registry before main() runs.
template <class Kind>
struct Registration {
  Registration(std::string name, std::string help, typename Kind::Factory make) {
    Registry<Kind>::add({std::move(name), std::move(help), std::move(make)});
  }
};

}  // namespace orrery
