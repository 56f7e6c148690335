#include <catch2/catch.hpp>
#include <zlib.h>
#include <zstd.h>

#include "workload/memory_trace.hpp"

using namespace orrery;

namespace {

std::string gzip(const std::string& text) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(compressBound(text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(out.size() - z.avail_out);
  deflateEnd(&z);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::vector<std::string> lines_of(const std::string& bytes) {
  const auto source = ByteSource::memory(bytes, "text");
  LineReader reader(source.open(), source.name());
  std::vector<std::string> out;
  std::string_view line;
  while (reader.next(line)) out.emplace_back(line);
  return out;
}

std::string many_lines() {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "line " + std::to_string(i) + "\n";
  return text;
}

}  // namespace

TEST_CASE("are lines the same with LF, CRLF, a byte-order mark, or no final line end?") {
  const std::vector<std::string> expected{"a", "", "b"};
  CHECK(lines_of("a\n\nb\n") == expected);
  CHECK(lines_of("a\r\n\r\nb\r\n") == expected);
  CHECK(lines_of("a\n\nb") == expected);
  CHECK(lines_of("\xef\xbb\xbf"
                 "a\n\nb") == expected);
  CHECK(lines_of("").empty());
}

TEST_CASE("does a line longer than the read buffer stay whole?") {
  const std::string longest(3 << 20, 'x');
  CHECK(lines_of("a\n" + longest + "\nb") == std::vector<std::string>{"a", longest, "b"});
}

TEST_CASE("does a compressed file read as the plain one?") {
  const std::string text = many_lines();
  const auto plain = lines_of(text);
  REQUIRE(plain.size() == 100'000);
  CHECK(lines_of(gzip(text)) == plain);
  CHECK(lines_of(zstd(text)) == plain);
  CHECK(lines_of(gzip("line 0\n") + gzip("line 1\n")) == std::vector<std::string>{"line 0", "line 1"});
  CHECK(lines_of(gzip("")).empty());
  CHECK(lines_of(zstd("")).empty());
}

TEST_CASE("is a truncated download told from a corrupt one?") {
  const std::string text = many_lines();
  for (const std::string& packed : {gzip(text), zstd(text)}) {
    const std::string half = packed.substr(0, packed.size() / 2);
    CHECK_THROWS_WITH(lines_of(half), Catch::Contains("truncated"));
    std::string damaged = packed;
    for (std::size_t i = damaged.size() / 2; i < damaged.size() / 2 + 64; ++i) damaged[i] = '\x7f';
    CHECK_THROWS_WITH(lines_of(damaged), Catch::Contains("corrupt"));
  }
  CHECK_THROWS_WITH(lines_of(gzip(text).substr(0, 12)), Catch::Contains("truncated"));
}

TEST_CASE("does a missing file or a folder say what it is?") {
  CHECK_THROWS_WITH(ByteSource::file("/nonexistent/trace.csv").open(), Catch::Contains("cannot read"));
  CHECK_THROWS_WITH(ByteSource::file("/").open(), Catch::Contains("folder"));
}
