#include "report/perfetto.hpp"

#include "report/protobuf_message.hpp"

namespace orrery {

namespace {

using Message = ProtobufMessage;

constexpr std::size_t kMaxPacket = 4096;
constexpr std::size_t kMaxText =
    1024;  // of the caller's; names of our own and numbers take less than the rest
constexpr std::uint32_t kSequence = 1;  // one writer, one packet sequence

// Field numbers of perfetto's protos (trace_packet.proto, track_descriptor.proto, track_event.proto,
// debug_annotation.proto, interned_data.proto).
namespace packet_field {
constexpr int timestamp = 8, sequence_id = 10, track_event = 11, interned_data = 12, sequence_flags = 13,
              track_descriptor = 60;
}
namespace descriptor_field {
constexpr int uuid = 1, name = 2, process = 3, parent_uuid = 5, counter = 8, child_ordering = 11,
              sibling_order_rank = 12, description = 14, process_ordering = 19;
constexpr int pid = 1, process_name = 6;  // ProcessDescriptor
constexpr int counter_unit_name = 6;      // CounterDescriptor
constexpr int explicit_children = 3, explicit_processes = 1;
}  // namespace descriptor_field
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

constexpr std::string_view kNames[] = {"queued",     "prefill",    "decode",      "decode run",
                                       "mixed step", "preemption", "KV transfer", "starting",
                                       "draining",   "down",       "failed",      "retry"};
constexpr std::string_view kArgs[] = {"steps",         "decode_seqs",   "prefill_tokens", "running",
                                      "waiting",       "kv_blocks",     "request",        "prompt_tokens",
                                      "cached_tokens", "output_tokens", "preemptions"};

template <std::size_t N>
void intern(Message& data, int field, const std::string_view (&names)[N]) {
  std::uint64_t iid = 0;
  for (const auto name : names) {
    data.nested(field, [&](Message& entry) {
      entry.integer(interned::iid, ++iid);
      entry.text(interned::name, name);
    });
  }
}

void annotate(Message& event, PerfettoWriter::Annotations args) {
  for (const auto& arg : args) {
    event.nested(track_event::annotations, [&](Message& annotation) {
      annotation.integer(track_event::annotation_name_iid, static_cast<std::uint64_t>(arg.name));
      annotation.integer(track_event::annotation_int, static_cast<std::uint64_t>(arg.value));
    });
  }
}

}  // namespace

template <class Fill>
void PerfettoWriter::packet(Fill&& fill) {
  Message trace{file_.reserve(kMaxPacket)};
  trace.nested(1, [&](Message& one) {
    one.integer(packet_field::sequence_id, kSequence);
    fill(one);
  });
  file_.commit(trace.end());
}

template <class Fill>
void PerfettoWriter::event(std::uint64_t track, Ps time, int type, Fill&& fill) {
  packet([&](Message& one) {
    one.integer(packet_field::timestamp, static_cast<std::uint64_t>(time.value / 1000));  // ns
    one.integer(packet_field::sequence_flags, kNeedsIncrementalState);
    one.nested(packet_field::track_event, [&](Message& e) {
      e.integer(track_event::type, type);
      e.integer(track_event::track_uuid, track);
      fill(e);
    });
  });
}

template <class Fill>
void PerfettoWriter::descriptor(std::uint64_t uuid, Fill&& fill) {
  packet([&](Message& one) {
    one.nested(packet_field::track_descriptor, [&](Message& d) {
      d.integer(descriptor_field::uuid, uuid);
      fill(d);
    });
  });
}

PerfettoWriter::PerfettoWriter(const std::string& path) : file_(path) {
  packet([](Message& one) {
    one.integer(packet_field::sequence_flags, kIncrementalStateCleared);
    one.nested(packet_field::interned_data, [](Message& data) {
      intern(data, interned::event_names, kNames);
      intern(data, interned::annotation_names, kArgs);
    });
  });
  descriptor(0, [](Message& root) {
    root.integer(descriptor_field::process_ordering, descriptor_field::explicit_processes);
  });
}

void PerfettoWriter::process(std::uint64_t uuid, std::int64_t pid, std::string_view name, int rank) {
  descriptor(uuid, [&](Message& d) {
    d.integer(descriptor_field::child_ordering, descriptor_field::explicit_children);
    d.integer(descriptor_field::sibling_order_rank, rank);
    d.nested(descriptor_field::process, [&](Message& p) {
      p.integer(descriptor_field::pid, pid);
      p.text(descriptor_field::process_name, name.substr(0, kMaxText));
    });
  });
}

void PerfettoWriter::track(std::uint64_t uuid, std::uint64_t parent, std::string_view name, int rank,
                           std::string_view help) {
  descriptor(uuid, [&](Message& d) {
    d.integer(descriptor_field::parent_uuid, parent);
    d.text(descriptor_field::name, name.substr(0, kMaxText));
    d.integer(descriptor_field::sibling_order_rank, rank);
    if (!help.empty()) d.text(descriptor_field::description, help.substr(0, kMaxText));
  });
}

void PerfettoWriter::counter(std::uint64_t uuid, std::uint64_t parent, std::string_view name, int rank,
                             std::string_view unit) {
  descriptor(uuid, [&](Message& d) {
    d.integer(descriptor_field::parent_uuid, parent);
    d.text(descriptor_field::name, name.substr(0, kMaxText));
    d.integer(descriptor_field::sibling_order_rank, rank);
    d.nested(descriptor_field::counter,
             [&](Message& c) { c.text(descriptor_field::counter_unit_name, unit.substr(0, kMaxText)); });
  });
}

void PerfettoWriter::begin(std::uint64_t track, Ps time, Name name, Annotations args) {
  event(track, time, track_event::begin, [&](Message& e) {
    e.integer(track_event::name_iid, static_cast<std::uint64_t>(name));
    annotate(e, args);
  });
}

void PerfettoWriter::begin(std::uint64_t track, Ps time, std::string_view name, Annotations args) {
  event(track, time, track_event::begin, [&](Message& e) {
    e.text(track_event::name, name.substr(0, kMaxText));
    annotate(e, args);
  });
}

void PerfettoWriter::end(std::uint64_t track, Ps time) {
  event(track, time, track_event::end, [](Message&) {});
}

void PerfettoWriter::instant(std::uint64_t track, Ps time, Name name, Annotations args) {
  event(track, time, track_event::instant, [&](Message& e) {
    e.integer(track_event::name_iid, static_cast<std::uint64_t>(name));
    annotate(e, args);
  });
}

void PerfettoWriter::count(std::uint64_t track, Ps time, std::int64_t value) {
  event(track, time, track_event::counter,
        [&](Message& e) { e.integer(track_event::counter_value, static_cast<std::uint64_t>(value)); });
}

void PerfettoWriter::count(std::uint64_t track, Ps time, double value) {
  event(track, time, track_event::counter,
        [&](Message& e) { e.real(track_event::double_counter_value, value); });
}

}  // namespace orrery
