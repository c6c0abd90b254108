#include "support/freed_memory.hpp"

#include <cassert>
#include <cstdlib>
#include <new>

#include <malloc.h>

namespace dflockd::base {
namespace {

std::string_view watched;
bool was_seen = false;

}  // namespace

FreedMemoryWatch::FreedMemoryWatch(std::string_view marker) {
  assert(watched.empty() && !marker.empty());
  watched = marker;
  was_seen = false;
}

FreedMemoryWatch::~FreedMemoryWatch() {
  watched = {};
}

bool FreedMemoryWatch::seen() const {
  return was_seen;
}

}  // namespace dflockd::base

/// Zeroed, so that nothing from its earlier use is found in it.
void* operator new(std::size_t size) {
  void* const memory = std::calloc(1, size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept {
  using dflockd::base::was_seen;
  using dflockd::base::watched;
  if (memory != nullptr && !watched.empty()) {
    const std::string_view content(static_cast<const char*>(memory), ::malloc_usable_size(memory));
    was_seen = was_seen || content.find(watched) != std::string_view::npos;
  }
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  operator delete(memory);
}
