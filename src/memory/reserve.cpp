#include "memory/reserve.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

namespace dflockd::memory {

namespace {

/// `kCount` blocks of `kSize` bytes. The system has not given them pages before the first use.
template <std::size_t kSize, std::size_t kCount>
class Blocks {
 public:
  static constexpr std::size_t kBlockSize = kSize;

  /// A block, or null if all are in use.
  void* take() noexcept {
    if (free_ == nullptr && fresh_ == kCount) return nullptr;
    ++used_;
    if (free_ == nullptr) return bytes_.data() + kSize * fresh_++;
    void* const block = free_;
    std::memcpy(&free_, block, sizeof free_);
    return block;
  }

  void give_back(void* block) noexcept {
    --used_;
    std::memcpy(block, &free_, sizeof free_);
    free_ = block;
  }

  [[nodiscard]] bool owns(const void* block) const noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(block);
    const auto first = reinterpret_cast<std::uintptr_t>(bytes_.data());
    return address - first < bytes_.size();
  }

  [[nodiscard]] bool is_low() const noexcept { return used_ >= kCount / 2; }

 private:
  alignas(std::max_align_t) std::array<std::byte, kSize * kCount> bytes_{};
  void* free_ = nullptr;   ///< the block that was given back last; each begins with the next
  std::size_t fresh_ = 0;  ///< how many have been in use
  std::size_t used_ = 0;
};

/// Three quarters of a megabyte for operations and frames of coroutines, a quarter for lists that
/// grow.
class Reserve {
 public:
  void* take(std::size_t size) noexcept {
    const std::lock_guard lock(mutex_);
    void* block = nullptr;
    if (size <= small_.kBlockSize) block = small_.take();
    if (block == nullptr && size <= large_.kBlockSize) block = large_.take();
    note();
    return block;
  }

  /// False if the block is none of its own.
  bool give_back(void* block) noexcept {
    if (!small_.owns(block) && !large_.owns(block)) return false;
    const std::lock_guard lock(mutex_);
    if (small_.owns(block)) {
      small_.give_back(block);
    } else {
      large_.give_back(block);
    }
    note();
    return true;
  }

  [[nodiscard]] bool is_low() const noexcept { return low_.load(std::memory_order_relaxed); }

 private:
  void note() noexcept { low_ = small_.is_low() || large_.is_low(); }

  std::mutex mutex_;
  Blocks<512, 1536> small_;
  Blocks<8192, 32> large_;
  std::atomic<bool> low_ = false;
};

#ifndef __SANITIZE_ADDRESS__
constinit Reserve reserve;
#endif

}  // namespace

#ifdef __SANITIZE_ADDRESS__
bool is_short() noexcept {
  return false;
}
#else
bool is_short() noexcept {
  if (!reserve.is_low()) return false;
  // Who came while there was none may keep blocks for long after there is some again.
  constexpr std::size_t kEnoughToGoOn = 64UL * 1024;
  void* volatile const memory = std::malloc(kEnoughToGoOn);  // volatile: or it is not even tried
  std::free(memory);
  return memory == nullptr;
}
#endif

}  // namespace dflockd::memory

#ifndef __SANITIZE_ADDRESS__

void* operator new(std::size_t size) {
  if (void* const memory = std::malloc(size > 0 ? size : 1)) return memory;
  if (void* const block = dflockd::memory::reserve.take(size)) return block;
  throw std::bad_alloc();
}

void operator delete(void* memory) noexcept {
  if (!dflockd::memory::reserve.give_back(memory)) std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  ::operator delete(memory);
}

#endif
