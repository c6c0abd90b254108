// Telling a process from its parent.
#pragma once

namespace dflockd::client {

/// How many times the process has become another one by fork(2) since the library was first used,
/// counted in the child. Thread-safe and cheap.
[[nodiscard]] unsigned fork_generation() noexcept;

}  // namespace dflockd::client
