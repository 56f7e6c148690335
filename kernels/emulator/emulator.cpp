#include "emulator/emulator.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "emulator/fiber.hpp"

namespace orrery::kernels::emulator {
namespace {

constexpr int kWarp = 32;
constexpr std::size_t kExchangeBytes = 64;
constexpr std::size_t kMostShared = 227 * 1024;  // of a block, compute capability 9.0

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes, valid;
};

enum class State : std::uint8_t { ready, at_block_barrier, at_warp_barrier, done };

struct Thread {
  Index3 index;
  int number = 0;
  State state = State::ready;
  unsigned exchanges = 0;
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;
};

struct Warp {
  int live = 0, waiting = 0;
  alignas(16) std::array<std::array<std::array<unsigned char, kExchangeBytes>, kWarp>, 2> slots{};
};

/// One block in execution.
class Block {
 public:
  Block(const Index3& grid, const Index3& block, std::size_t shared_bytes, const std::function<void()>& body)
      : grid_size(grid), block_size(block), shared(shared_bytes + 16), body_(body) {
    const std::size_t n = std::size_t{block.x} * block.y * block.z;
    threads.resize(n), warps.resize((n + kWarp - 1) / kWarp);
    order_.resize(n);
    std::iota(order_.begin(), order_.end(), std::size_t{0});
  }

  void run(const Index3& index, Order order);

  void wait(State where) {
    Thread& t = *current;
    t.state = where;
    if (where == State::at_block_barrier) ++at_barrier_;
    if (where == State::at_warp_barrier) ++warp_of(t).waiting;
    settle(warp_of(t));
    if (t.state != State::ready) fibers().yield();
  }

  Warp& warp_of(const Thread& t) { return warps[static_cast<std::size_t>(t.number / kWarp)]; }

  Index3 grid_size, block_size, block_index;
  std::vector<unsigned char> shared;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  Thread* current = nullptr;

 private:
  /// Opens the barriers at which everybody who still lives has arrived.
  void settle(Warp& warp) {
    if (warp.waiting > 0 && warp.waiting == warp.live) {
      if (warp.waiting != kWarp) throw std::logic_error("an operation of a warp that some lanes have left");
      warp.waiting = 0;
      const auto first = static_cast<std::size_t>(&warp - warps.data()) * kWarp;
      for (std::size_t i = first; i < std::min(first + kWarp, threads.size()); ++i) {
        if (threads[i].state == State::at_warp_barrier) threads[i].state = State::ready;
      }
    }
    if (at_barrier_ > 0 && at_barrier_ == live_) {
      at_barrier_ = 0;
      for (Thread& t : threads) {
        if (t.state == State::at_block_barrier) t.state = State::ready;
      }
    }
  }

  const std::function<void()>& body_;
  std::vector<std::size_t> order_;
  std::size_t live_ = 0, at_barrier_ = 0;
};

Block* g_block = nullptr;  // the running kernel's context, as threadIdx is on a device
Order g_order = Order::forward;

void Block::run(const Index3& index, Order order) {
  block_index = index;
  std::memset(shared.data(), 0xCD, shared.size());
  for (Warp& w : warps) w.live = 0, w.waiting = 0;
  live_ = threads.size();
  for (std::size_t i = 0; i < threads.size(); ++i) {
    Thread& t = threads[i];
    t = Thread{};
    t.number = static_cast<int>(i);
    const auto n = static_cast<unsigned>(i);
    t.index = {n % block_size.x, n / block_size.x % block_size.y, n / block_size.x / block_size.y};
    ++warp_of(t).live;
  }
  if (order == Order::reverse) std::reverse(order_.begin(), order_.end());
  std::mt19937 random(index.x * 31 + index.y * 17 + index.z);
  fibers().start(threads.size(), [this](std::size_t) {
    body_();
    Thread& t = *current;
    t.state = State::done;
    --live_, --warp_of(t).live;
    settle(warp_of(t));
  });
  while (live_ > 0) {
    if (order == Order::shuffled) std::shuffle(order_.begin(), order_.end(), random);
    bool progress = false;
    for (const std::size_t i : order_) {
      if (threads[i].state != State::ready) continue;
      current = &threads[i];
      fibers().resume(i);
      progress = true;
    }
    if (!progress) throw std::logic_error("threads of a block wait at different barriers");
  }
  if (order == Order::reverse) std::reverse(order_.begin(), order_.end());
}

void perform(const std::vector<Copy>& group) {
  for (const Copy& c : group) {
    std::memcpy(c.to, c.from, c.valid);
    std::memset(static_cast<unsigned char*>(c.to) + c.valid, 0, c.bytes - c.valid);
  }
}

}  // namespace

void set_order(Order order) {
  g_order = order;
}

void run(const Index3& grid, const Index3& block, std::size_t shared_bytes,
         const std::function<void()>& body) {
  if (block.x * block.y * block.z > 1024 || block.x * block.y * block.z == 0 || grid.x == 0 || grid.y == 0 ||
      grid.z == 0 || grid.y > 65535 || grid.z > 65535) {
    throw std::logic_error("a launch with an impossible grid or block");
  }
  if (block.x * block.y * block.z % kWarp != 0) throw std::logic_error("a block with part of a warp");
  if (shared_bytes > kMostShared) throw std::logic_error("more shared memory than any device has");
  Block running(grid, block, shared_bytes, body);
  g_block = &running;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) running.run({x, y, z}, g_order);
    }
  }
  g_block = nullptr;
}

const Index3& thread_index() {
  return g_block->current->index;
}
const Index3& block_index() {
  return g_block->block_index;
}
const Index3& block_size() {
  return g_block->block_size;
}
const Index3& grid_size() {
  return g_block->grid_size;
}
void* dynamic_shared() {
  auto address = reinterpret_cast<std::uintptr_t>(g_block->shared.data());
  return reinterpret_cast<void*>((address + 15) & ~std::uintptr_t{15});
}
int lane() {
  return g_block->current->number % kWarp;
}

void block_barrier() {
  g_block->wait(State::at_block_barrier);
}
void warp_barrier() {
  g_block->wait(State::at_warp_barrier);
}

// Two sets of slots in turn: a lane can write the next exchange only after all have arrived at this one's
// barrier, and the one after that only when all have read.
void warp_exchange(const void* mine, std::size_t bytes, void* all) {
  if (bytes > kExchangeBytes) throw std::logic_error("a warp exchange of more than 64 bytes a lane");
  Thread& t = *g_block->current;
  Warp& warp = g_block->warp_of(t);
  auto& slots = warp.slots[t.exchanges++ % 2];
  std::memcpy(slots[static_cast<std::size_t>(t.number % kWarp)].data(), mine, bytes);
  warp_barrier();
  for (std::size_t i = 0; i < kWarp; ++i)
    std::memcpy(static_cast<unsigned char*>(all) + i * bytes, slots[i].data(), bytes);
}

void report_misaligned(std::size_t bytes) {
  throw std::logic_error("an access of " + std::to_string(bytes) + " bytes that is not aligned to them");
}

void async_copy(void* to, const void* from, std::size_t bytes, std::size_t valid_bytes) {
  require_aligned(to, bytes), require_aligned(from, bytes);
  g_block->current->open.push_back({to, from, bytes, valid_bytes});
}
void async_commit() {
  Thread& t = *g_block->current;
  t.groups.push_back(std::move(t.open));
  t.open.clear();
}
void async_wait(int groups_left) {
  Thread& t = *g_block->current;
  while (t.groups.size() > static_cast<std::size_t>(groups_left)) {
    perform(t.groups.front());
    t.groups.pop_front();
  }
}

}  // namespace orrery::kernels::emulator
