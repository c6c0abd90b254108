// Memory put by for when the system gives none. asio cannot take back an operation that it has no
// memory for, and a loop that cannot wait for its next tick is no server any more. So where
// malloc(3) fails, `operator new` hands out what is small from a reserve, and whoever would take on
// more than it has asks `is_short` first. What is large is refused with `std::bad_alloc`, as ever.
//
// A program that calls `is_short` has its `operator new` and `operator delete` replaced, except
// with the sanitizers, which have their own. For any thread.
#pragma once

namespace dflockd::memory {

/// Whether the reserve is being drawn on so much that what remains is for what goes on anyway, and
/// the system still gives none: nothing may be begun that keeps memory, no connection and no claim
/// of a lock.
[[nodiscard]] bool is_short() noexcept;

}  // namespace dflockd::memory
