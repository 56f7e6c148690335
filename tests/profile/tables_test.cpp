#include "tables.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.hpp"
#include "ops/kernel_classes.hpp"

using namespace orrery;
using namespace orrery::profile;
namespace fs = std::filesystem;

namespace {

struct Folder {
  std::string path = (fs::temp_directory_path() / ("orrery-tables-" + std::to_string(::getpid()))).string();
  Folder() { fs::remove_all(path); }
  ~Folder() { fs::remove_all(path); }
  std::string gemm() const { return path + "/gemm.csv"; }
};

Job job(double m) {
  Job j;
  j.component = "gemm";
  j.what.call = make_call(kGemm, {m, 4096, 4096}, DType::bf16, DType::int4);
  j.what.variant = "flat";
  j.what.with["group"] = 128;
  return j;
}

Measurement measured(double seconds) {
  Measurement m;
  m.time_s = seconds, m.samples = 5;
  return m;
}

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void append(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::app | std::ios::binary) << text;
}

}  // namespace

TEST_CASE("is a row read back as the case it was measured for?", "[profile]") {
  const Folder folder;
  Tables(folder.path, "one", false).append(job(16), measured(1.5e-5));
  const Tables again(folder.path, "two", false);
  CHECK(again.has(job(16)));
  CHECK_FALSE(again.has(job(17)));
  Job other = job(16);
  other.what.with["group"] = 64;
  CHECK_FALSE(again.has(other));
  const TableRow& row = again.rows().at(&kGemm).at(0);
  CHECK(row.time_s == Approx(1.5e-5));
  CHECK(row.weight_dtype == DType::int4);
  CHECK(row.options == "group=128");
}

TEST_CASE("does a table start with its class and say what its rows were measured with?", "[profile]") {
  const Folder folder;
  Tables(folder.path, "driver 1", false).append(job(1), measured(1));
  Tables(folder.path, "driver 2", false).append(job(2), measured(1));
  const std::string text = text_of(folder.gemm());
  CHECK(text.rfind("# class: gemm\n# driver 1\nm,n,k,dtype,weight_dtype,time_s,variant,", 0) == 0);
  CHECK(text.find("# driver 2\n2,4096,4096,bf16,int4,") != std::string::npos);
}

TEST_CASE("is a row a killed process left half written cut off, and measured again?", "[profile]") {
  const Folder folder;
  Tables(folder.path, "p", false).append(job(1), measured(1));
  const std::string whole = text_of(folder.gemm());
  append(folder.gemm(), "2,4096,4096,bf16,int");
  Tables tables(folder.path, "p", false);
  CHECK(text_of(folder.gemm()) == whole);
  CHECK_FALSE(tables.has(job(2)));
  tables.append(job(2), measured(1));
  CHECK(Tables(folder.path, "p", false).rows().at(&kGemm).size() == 2);
}

TEST_CASE("is a file whose very header was cut written anew?", "[profile]") {
  const Folder folder;
  fs::create_directories(folder.path);
  append(folder.gemm(), "# class: gemm\n# p\nm,n,");
  Tables(folder.path, "p", false).append(job(1), measured(1));
  CHECK(Tables(folder.path, "p", false).rows().at(&kGemm).size() == 1);
}

TEST_CASE("do dry runs and measurements keep out of one another's tables?", "[profile]") {
  const Folder folder;
  Tables(folder.path, "p", true).append(job(1), measured(1));
  CHECK(text_of(folder.gemm()).find("# dry run: nothing was measured\n") != std::string::npos);
  CHECK_THROWS_AS(Tables(folder.path, "p", false), ConfigError);
  fs::remove_all(folder.path);
  Tables(folder.path, "p", false).append(job(1), measured(1));
  CHECK_THROWS_AS(Tables(folder.path, "p", true), ConfigError);
}

TEST_CASE("does a disk that is full leave whole rows and a sentence?", "[profile]") {
  const Folder folder;
  Tables tables(folder.path, "p", false);
  tables.append(job(1), measured(1));
  const std::string whole = text_of(folder.gemm());
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  rlimit full = before;
  full.rlim_cur = whole.size() + 10;  // room for a part of the next row
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &full);
  CHECK_THROWS_AS(tables.append(job(2), measured(1)), ConfigError);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(text_of(folder.gemm()) == whole);
  tables.append(job(2), measured(1));
  CHECK(Tables(folder.path, "p", false).rows().at(&kGemm).size() == 2);
}
