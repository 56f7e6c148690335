#include "emulator/fiber.hpp"

#include <exception>
#include <utility>
#include <vector>

#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define ORRERY_ASAN 1
#else
#define ORRERY_ASAN 0
#endif

namespace orrery::kernels::emulator {
namespace {
constexpr std::size_t kStackBytes = (ORRERY_ASAN ? 256 : 96) * 1024;

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<unsigned char[]> stack{new unsigned char[kStackBytes]};
  void* fake_stack = nullptr;
  bool ended = false;
};
}  // namespace

struct Fibers::Impl {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::function<void(std::size_t)> entry;
  ucontext_t caller{};
  std::size_t running = 0;
  std::exception_ptr failure;
  const void* caller_stack = nullptr;
  std::size_t caller_stack_bytes = 0;
  void* caller_fake_stack = nullptr;

  static void enter();

  // AddressSanitizer must be told of every change of stack.
  void leave_to_fiber(Fiber& f) {
#if ORRERY_ASAN
    __sanitizer_start_switch_fiber(&caller_fake_stack, f.stack.get(), kStackBytes);
#endif
    swapcontext(&caller, &f.context);
#if ORRERY_ASAN
    __sanitizer_finish_switch_fiber(caller_fake_stack, nullptr, nullptr);
#endif
  }
  void arrived_in_fiber(void* fake_stack) {
#if ORRERY_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, &caller_stack, &caller_stack_bytes);
#else
    static_cast<void>(fake_stack);
#endif
  }
  void leave_to_caller(Fiber& f) {
#if ORRERY_ASAN
    __sanitizer_start_switch_fiber(f.ended ? nullptr : &f.fake_stack, caller_stack, caller_stack_bytes);
#endif
    swapcontext(&f.context, &caller);
    arrived_in_fiber(f.fake_stack);
  }
};

Fibers::Fibers() : impl_(std::make_unique<Impl>()) {}
Fibers::~Fibers() = default;

void Fibers::Impl::enter() {
  Impl& self = *emulator::fibers().impl_;
  self.arrived_in_fiber(nullptr);
  Fiber& f = *self.fibers[self.running];
  try {
    self.entry(self.running);
  } catch (...) {
    self.failure = std::current_exception();
  }
  f.ended = true;
  self.leave_to_caller(f);
}

void Fibers::start(std::size_t count, std::function<void(std::size_t)> entry) {
  impl_->entry = std::move(entry);
  while (impl_->fibers.size() < count) impl_->fibers.push_back(std::make_unique<Fiber>());
  for (std::size_t i = 0; i < count; ++i) {
    Fiber& f = *impl_->fibers[i];
    f.ended = false, f.fake_stack = nullptr;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = kStackBytes;
    f.context.uc_link = nullptr;
    makecontext(&f.context, &Impl::enter, 0);
  }
}

void Fibers::resume(std::size_t i) {
  impl_->running = i;
  impl_->leave_to_fiber(*impl_->fibers[i]);
  if (impl_->failure) std::rethrow_exception(std::exchange(impl_->failure, nullptr));
}

void Fibers::yield() {
  impl_->leave_to_caller(*impl_->fibers[impl_->running]);
}

Fibers& fibers() {
  static Fibers all;
  return all;
}

}  // namespace orrery::kernels::emulator
