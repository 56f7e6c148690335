#include "report/perfetto.hpp"

#include <protozero/buffer_fixed.hpp>
#include <protozero/pbf_writer.hpp>

namespace orrery {

namespace {

using Message = protozero::basic_pbf_writer<protozero::fixed_size_buffer_adaptor>;

constexpr std::size_t kMaxPacket = 2048;  // every packet here is far smaller
constexpr std::uint32_t kSequence = 1;    // one writer, one packet sequence

// Field numbers of perfetto's protos (trace_packet.proto, track_descriptor.proto, track_event.proto,
// debug_annotation.proto, interned_data.proto).
namespace packet_field {
constexpr int timestamp = 8, sequence_id = 10, track_event = 11, interned_data = 12, sequence_flags = 13,
              track_descriptor = 60;
}
namespace descriptor {
constexpr int uuid = 1, name = 2, process = 3, parent_uuid = 5, counter = 8, child_ordering = 11,
              sibling_order_rank = 12, description = 14, process_ordering = 19;
constexpr int pid = 1, process_name = 6;  // ProcessDescriptor
constexpr int counter_unit_name = 6;      // CounterDescriptor
constexpr int explicit_children = 3, explicit_processes = 1;
}  // namespace descriptor
namespace track_event {
constexpr int annotations = 4, type = 9, name_iid = 10, track_uuid = 11, name = 23, counter_value = 30,
              double_counter_value = 44;
constexpr int begin = 1, end = 2, instant = 3, counter = 4;  // TrackEvent.Type
constexpr int annotation_name_iid = 1, annotation_int = 4;   // DebugAnnotation
}  // namespace track_event
namespace interned {
constexpr int event_names = 2, annotation_names = 3;
constexpr int iid = 1, name = 2;
}  // namespace interned
constexpr int kIncrementalStateCleared = 1, kNeedsIncrementalState = 2;

constexpr std::string_view kNames[] = {"queued",     "prefill",    "decode",
                                       "decode run", "mixed step", "preemption"};
constexpr std::string_view kArgs[] = {"steps",         "decode_seqs",   "prefill_tokens", "running",
                                      "waiting",       "kv_blocks",     "request",        "prompt_tokens",
                                      "cached_tokens", "output_tokens", "preemptions"};

template <std::size_t N>
void intern(Message& data, int field, const std::string_view (&names)[N]) {
  std::uint64_t iid = 0;
  for (const auto name : names) {
    Message entry{data, static_cast<protozero::pbf_tag_type>(field)};
    entry.add_uint64(interned::iid, ++iid);
    entry.add_string(interned::name, name.data(), name.size());
  }
}

void annotate(Message& event, PerfettoWriter::Annotations args) {
  for (const auto& arg : args) {
    Message annotation{event, track_event::annotations};
    annotation.add_uint64(track_event::annotation_name_iid, static_cast<std::uint64_t>(arg.name));
    annotation.add_int64(track_event::annotation_int, arg.value);
  }
}

}  // namespace

template <class Fill>
void PerfettoWriter::packet(Fill&& fill) {
  char* const start = file_.reserve(kMaxPacket);
  protozero::fixed_size_buffer_adaptor buffer{start, kMaxPacket};
  {
    Message trace{buffer};
    Message one{trace, 1};
    one.add_uint32(packet_field::sequence_id, kSequence);
    fill(one);
  }
  file_.commit(start + buffer.size());
}

template <class Fill>
void PerfettoWriter::event(std::uint64_t track, Ps time, int type, Fill&& fill) {
  packet([&](Message& one) {
    one.add_uint64(packet_field::timestamp, static_cast<std::uint64_t>(time.value / 1000));  // ns
    one.add_uint32(packet_field::sequence_flags, kNeedsIncrementalState);
    Message e{one, packet_field::track_event};
    e.add_int32(track_event::type, type);
    e.add_uint64(track_event::track_uuid, track);
    fill(e);
  });
}

PerfettoWriter::PerfettoWriter(const std::string& path) : file_(path) {
  packet([](Message& one) {
    one.add_uint32(packet_field::sequence_flags, kIncrementalStateCleared);
    Message data{one, packet_field::interned_data};
    intern(data, interned::event_names, kNames);
    intern(data, interned::annotation_names, kArgs);
  });
  packet([](Message& one) {
    Message root{one, packet_field::track_descriptor};
    root.add_uint64(descriptor::uuid, 0);
    root.add_int32(descriptor::process_ordering, descriptor::explicit_processes);
  });
}

void PerfettoWriter::process(std::uint64_t uuid, std::int64_t pid, std::string_view name, int rank) {
  packet([&](Message& one) {
    Message d{one, packet_field::track_descriptor};
    d.add_uint64(descriptor::uuid, uuid);
    d.add_int32(descriptor::child_ordering, descriptor::explicit_children);
    d.add_int32(descriptor::sibling_order_rank, rank);
    Message p{d, descriptor::process};
    p.add_int64(descriptor::pid, pid);
    p.add_string(descriptor::process_name, name.data(), name.size());
  });
}

void PerfettoWriter::track(std::uint64_t uuid, std::uint64_t parent, std::string_view name, int rank,
                           std::string_view help) {
  packet([&](Message& one) {
    Message d{one, packet_field::track_descriptor};
    d.add_uint64(descriptor::uuid, uuid);
    d.add_uint64(descriptor::parent_uuid, parent);
    d.add_string(descriptor::name, name.data(), name.size());
    d.add_int32(descriptor::sibling_order_rank, rank);
    if (!help.empty()) d.add_string(descriptor::description, help.data(), help.size());
  });
}

void PerfettoWriter::counter(std::uint64_t uuid, std::uint64_t parent, std::string_view name, int rank,
                             std::string_view unit) {
  packet([&](Message& one) {
    Message d{one, packet_field::track_descriptor};
    d.add_uint64(descriptor::uuid, uuid);
    d.add_uint64(descriptor::parent_uuid, parent);
    d.add_string(descriptor::name, name.data(), name.size());
    d.add_int32(descriptor::sibling_order_rank, rank);
    Message c{d, descriptor::counter};
    c.add_string(descriptor::counter_unit_name, unit.data(), unit.size());
  });
}

void PerfettoWriter::begin(std::uint64_t track, Ps time, Name name, Annotations args) {
  event(track, time, track_event::begin, [&](Message& e) {
    e.add_uint64(track_event::name_iid, static_cast<std::uint64_t>(name));
    annotate(e, args);
  });
}

void PerfettoWriter::begin(std::uint64_t track, Ps time, std::string_view name, Annotations args) {
  event(track, time, track_event::begin, [&](Message& e) {
    e.add_string(track_event::name, name.data(), name.size());
    annotate(e, args);
  });
}

void PerfettoWriter::end(std::uint64_t track, Ps time) {
  event(track, time, track_event::end, [](Message&) {});
}

void PerfettoWriter::instant(std::uint64_t track, Ps time, Name name, Annotations args) {
  event(track, time, track_event::instant, [&](Message& e) {
    e.add_uint64(track_event::name_iid, static_cast<std::uint64_t>(name));
    annotate(e, args);
  });
}

void PerfettoWriter::count(std::uint64_t track, Ps time, std::int64_t value) {
  event(track, time, track_event::counter,
        [&](Message& e) { e.add_int64(track_event::counter_value, value); });
}

void PerfettoWriter::count(std::uint64_t track, Ps time, double value) {
  event(track, time, track_event::counter,
        [&](Message& e) { e.add_double(track_event::double_counter_value, value); });
}

}  // namespace orrery
