// What the property tests and the fuzzer do to a table: commands that mean something in any state,
// so that any part of a sequence is a sequence, and shrinking works.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <vector>

#include "locks/command.hpp"

namespace dflockd::locks {

enum class Op : std::uint8_t {
  kAdvance,
  kAcquire,
  kEnqueue,
  kWait,
  kCancelWait,
  kCancelWaits,
  kGiveUpPlace,
  kRelease,
  kRenew,
  kReleaseWithWrongToken,
  kRenewWithWrongToken,
  kOpenOwner,
  kCloseOwner,
  kCloseOwnerKeepingGrants,
  kReserveFences,
  kCollectIdle,
  kVisitSlice,
  kStartDraining,
};

/// How much later than the command before it a command comes.
enum class Step : std::uint8_t {
  kSameTime,
  kOneNanosecond,
  kThirdOfASecond,
  kOneSecond,
  kTwoSeconds,
  kToNextDeadline,
  kJustBeforeNextDeadline,
  kOneMinute,
  kBackwards,
};

inline constexpr std::array<Key, 4> kKeys{
    {{Kind::kLock, "a"}, {Kind::kLock, "b"}, {Kind::kSemaphore, "a"}, {Kind::kSemaphore, "c"}}};

/// The most that the protocol lets a client ask for.
inline constexpr std::chrono::seconds kLongest{9223372036};

struct Draft {
  Op op = Op::kAdvance;
  Step step = Step::kSameTime;
  std::uint32_t owner = 0;   ///< modulo the number of open owners
  std::uint32_t key = 0;     ///< in `kKeys`
  std::uint32_t pick = 0;    ///< of the tokens known, counted from the latest; an amount
  bool other_limit = false;  ///< ask for a limit that is not the usual one
  std::chrono::seconds timeout{0};
  std::chrono::seconds lease{1};
};

/// What a sequence of commands starts from.
struct Setup {
  TableOptions options;
  std::uint64_t fences = 0;
};

/// The limit that most requests for a key ask for.
[[nodiscard]] constexpr std::uint32_t usual_limit(std::uint32_t key) {
  return kKeys[key].kind == Kind::kLock ? 1 : key;
}

const char* name_of(Op op);

// For RapidCheck's messages.
void showValue(const Setup& setup, std::ostream& out);
void showValue(const Draft& command, std::ostream& out);
void showValue(const std::vector<Draft>& commands, std::ostream& out);

}  // namespace dflockd::locks
