#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include <protozero/varint.hpp>

namespace orrery {

/// Writes one protobuf message forwards into a buffer the caller made large enough. Nested messages get a
/// two-byte length in advance (a padded varint, at most 16383), so that nothing is moved when it is known.
class ProtobufMessage {
 public:
  explicit ProtobufMessage(char* out) : out_(out) {}
  char* end() const { return out_; }

  void integer(std::uint32_t field, std::uint64_t value) {
    tag(field, kVarint);
    varint(value);
  }
  void real(std::uint32_t field, double value) {
    tag(field, kFixed64);
    std::memcpy(out_, &value, sizeof value);  // little-endian, as protobuf wants and every target is
    out_ += sizeof value;
  }
  void text(std::uint32_t field, std::string_view value) {
    tag(field, kLength);
    varint(value.size());
    std::memcpy(out_, value.data(), value.size());
    out_ += value.size();
  }
  template <class Fill>
  void nested(std::uint32_t field, Fill&& fill) {
    tag(field, kLength);
    char* const length = out_;
    out_ += 2;
    fill(*this);
    const auto bytes = static_cast<std::uint32_t>(out_ - length - 2);
    length[0] = static_cast<char>(0x80 | (bytes & 0x7f));
    length[1] = static_cast<char>(bytes >> 7);
  }

 private:
  static constexpr std::uint32_t kVarint = 0, kFixed64 = 1, kLength = 2;
  void tag(std::uint32_t field, std::uint32_t wire_type) { varint(field << 3 | wire_type); }
  void varint(std::uint64_t value) { out_ += protozero::add_varint_to_buffer(out_, value); }

  char* out_;
};

}  // namespace orrery
