// Holds bytes that must not stay in memory longer than they are needed: a core dump, or a read
// beyond a buffer, would show them.
//
//   base::Secret token("hunter2");
//   compare_in_constant_time(token.view(), given);
//
// Nothing prints a secret: it has no operator<<, and `view` is the only way in. Plain values: any
// thread may use one that no other changes.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <string.h>

namespace dflockd::base {

/// Wipes memory before it goes back to the heap.
template <typename T>
struct WipingAllocator {
  using value_type = T;

  T* allocate(std::size_t count) { return std::allocator<T>().allocate(count); }
  void deallocate(T* memory, std::size_t count) noexcept {
    ::explicit_bzero(memory, count * sizeof(T));
    std::allocator<T>().deallocate(memory, count);
  }
  friend bool operator==(const WipingAllocator&, const WipingAllocator&) { return true; }
};

/// A buffer for what may hold a secret. Not a string: a short one would keep its characters in
/// itself, where no allocator gets to wipe them.
using WipedBytes = std::vector<char, WipingAllocator<char>>;

/// The bytes as text. Valid until they change.
[[nodiscard]] inline std::string_view view_of(const WipedBytes& bytes) {
  return {bytes.data(), bytes.size()};
}

/// A secret of any bytes. Its memory is wiped when it is destroyed or assigned to; moving leaves
/// nothing behind.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string_view bytes) : bytes_(bytes.begin(), bytes.end()) {}
  Secret(const Secret&) = default;
  Secret(Secret&&) noexcept = default;
  ~Secret() = default;

  /// Exchanges the memory instead of writing over it: what a longer secret had behind the end of
  /// the new one would stay.
  Secret& operator=(Secret other) noexcept {
    bytes_.swap(other.bytes_);
    return *this;
  }

  /// Valid until the secret is destroyed, assigned to or moved from.
  [[nodiscard]] std::string_view view() const { return view_of(bytes_); }
  [[nodiscard]] bool empty() const { return bytes_.empty(); }

 private:
  WipedBytes bytes_;
};

}  // namespace dflockd::base
