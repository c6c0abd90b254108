// What the property tests and the fuzzer do to a table: moves that mean something in any state, so
// that any part of a sequence is a sequence, and shrinking works.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <vector>

#include "locks/command.hpp"

namespace dflockd::locks {

/// How much later than the move before it a move comes.
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

/// A command that the state completes: an owner's index is modulo the number of open
/// owners; tokens, salts and fences are filled in.
struct Move {
  Step step = Step::kSameTime;
  Command command;
  std::uint32_t pick = 0;   ///< of the tokens or places known, counted from the latest
  std::uint32_t twist = 0;  ///< how a token or a range is wrong; 0: it is right
};

/// What a sequence of moves starts from.
struct Setup {
  TableOptions options;
  std::uint64_t fences = 0;
};

/// Any bytes make a setup, and any make a move; zeros make the simplest.
using SetupBytes = std::array<std::uint8_t, 1>;
using MoveBytes = std::array<std::uint8_t, 5>;
[[nodiscard]] Setup setup_of(const SetupBytes& bytes);
[[nodiscard]] Move move_of(const MoveBytes& bytes);

/// Makes leases and timeouts end within `most`.
void shorten(Command& command, std::chrono::seconds most);

// For RapidCheck's messages.
void showValue(const Setup& setup, std::ostream& out);
void showValue(const std::vector<Move>& moves, std::ostream& out);

}  // namespace dflockd::locks
