#include "report/run_directory.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/version.hpp"
#include "report/sha256.hpp"

namespace orrery {

namespace fs = std::filesystem;

RunDirectory::RunDirectory(std::string path) : path_(std::move(path)) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  const char* hint = "choose another folder with --out DIR, or --out none";
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) throw ConfigError(fmt::format("cannot create the folder {}: {}", path_, error.message()), hint);
  if (!fs::is_directory(path_)) throw ConfigError(fmt::format("{} is not a folder", path_), hint);
  // Asked now, not after a long simulation.
  const std::string probe = file(".writable");
  { OutputFile(probe, 1).close(); }
  fs::remove(probe, error);
}

void RunDirectory::write_json(const std::string& name, const OrderedJson& json) const {
  const std::string aside = file(name + ".partial");
  OutputFile out(aside);
  out.write(json.dump(2, ' ', false, OrderedJson::error_handler_t::replace));
  out.write("\n");
  out.close();
  if (std::rename(aside.c_str(), file(name).c_str()) != 0) {
    throw ConfigError(fmt::format("cannot write {}: {}", file(name), std::strerror(errno)));
  }
}

std::string run_directory_name(const std::string& parent, const std::string& model, std::int64_t unix_time) {
  std::string short_name = model.substr(model.find_last_of('/') + 1);
  for (char& c : short_name) c = std::isalnum(static_cast<unsigned char>(c)) || c == '.' ? c : '-';
  const std::time_t time = unix_time;
  std::tm utc{};
  gmtime_r(&time, &utc);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H%M", &utc);
  const std::string base = fmt::format("{}/{}-{}", parent, stamp, short_name);
  std::string name = base;
  for (int n = 2; fs::exists(name); ++n) name = fmt::format("{}-{}", base, n);
  return name;
}

InputFile describe_input(const std::string& path) {
  InputFile out{path, 0, {}};
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) throw ConfigError(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  out.bytes = static_cast<std::int64_t>(in.tellg());
  if (out.bytes > kMaxHashedBytes) return out;
  in.seekg(0);
  Sha256 hash;
  std::string chunk(1 << 16, '\0');
  while (in.read(chunk.data(), static_cast<std::streamsize>(chunk.size())) || in.gcount() > 0) {
    hash.update(std::string_view(chunk).substr(0, static_cast<std::size_t>(in.gcount())));
  }
  out.sha256 = hash.hex();
  return out;
}

OrderedJson to_json(const Manifest& m) {
  OrderedJson json;
  json["schema_version"] = 1;
  json["orrery_version"] = kVersion;
  json["argv"] = m.argv;
  json["seed"] = m.seed;
  json["interrupted"] = m.interrupted;
  json["config"] = OrderedJson::object();
  for (const auto& e : m.config) json["config"][e.key] = {{"value", e.value}, {"origin", e.origin}};
  json["inputs"] = OrderedJson::array();
  for (const auto& f : m.inputs) {
    json["inputs"].push_back({{"path", f.path},
                              {"bytes", f.bytes},
                              {"sha256", f.sha256.empty() ? OrderedJson() : OrderedJson(f.sha256)}});
  }
  json["notes"] = m.notes;
  json["host"] = m.host;
  json["wall_s"] = m.wall_s;
  if (!m.live.empty()) json["live"] = m.live;
  return json;
}

}  // namespace orrery
