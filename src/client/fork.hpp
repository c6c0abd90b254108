// Telling a process from its parent.
#pragma once

#include <mutex>

namespace dflockd::client {

/// How many times the process has become another one by fork(2) since the library was first used,
/// counted in the child. Thread-safe and cheap.
[[nodiscard]] unsigned fork_generation() noexcept;

/// For what the whole process has once. It is held across fork(2), so that it is free in the child.
[[nodiscard]] std::mutex& process_mutex() noexcept;

}  // namespace dflockd::client
