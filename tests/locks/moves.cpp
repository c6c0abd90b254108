#include "moves.hpp"

#include <algorithm>
#include <ostream>

#include "recorder.hpp"

namespace dflockd::locks {

namespace {

using std::chrono::seconds;

constexpr std::uint32_t kNumbers = 6;  ///< owners, and how far back a pick goes

constexpr std::array kSteps{"at once",
                            "1 ns later",
                            "333 ms later",
                            "1 s later",
                            "2 s later",
                            "at the next deadline",
                            "1 ns before the next deadline",
                            "60 s later",
                            "1 s earlier"};

template <class T, std::size_t kSize>
T pick(const std::array<T, kSize>& from, std::size_t number) {
  return from[number % kSize];
}

template <class T>
struct Weighted {
  unsigned weight;
  T value;
};

/// The value that a byte means where `from` shares out its 256 values; the last has the rest.
template <class T, std::size_t kSize>
T weighted(const std::array<Weighted<T>, kSize>& from, unsigned byte) {
  for (const Weighted<T>& each : from) {
    if (byte < each.weight) return each.value;
    byte -= each.weight;
  }
  return from.back().value;
}

Step step_of(std::uint8_t byte) {
  constexpr std::array<Weighted<Step>, 9> kWeights{{{188, Step::kSameTime},
                                                    {6, Step::kOneNanosecond},
                                                    {12, Step::kThirdOfASecond},
                                                    {12, Step::kOneSecond},
                                                    {3, Step::kTwoSeconds},
                                                    {18, Step::kToNextDeadline},
                                                    {10, Step::kJustBeforeNextDeadline},
                                                    {3, Step::kOneMinute},
                                                    {4, Step::kBackwards}}};
  return weighted(kWeights, byte);
}

}  // namespace

Setup setup_of(const SetupBytes& bytes) {
  constexpr std::array<std::size_t, 4> kMaxLocks{0, 2, 3, 1};
  constexpr std::array<std::size_t, 4> kMaxWaiters{0, 1, 3, 2};
  constexpr std::array<std::uint64_t, 4> kFences{1'000'000, 1'000'000, 20, 0};
  constexpr std::array<std::size_t, 4> kMaxClaims{0, 0, 8, 3};
  return {{.max_locks = pick(kMaxLocks, bytes[0]),
           .max_waiters = pick(kMaxWaiters, bytes[0] >> 2U),
           .max_claims = pick(kMaxClaims, bytes[0] >> 6U)},
          pick(kFences, bytes[0] >> 4U)};
}

Move move_of(const MoveBytes& bytes) {
  constexpr std::array kTimeouts{seconds(30), seconds(0), seconds(2), seconds(3), kLongest};
  constexpr std::array kTtls{seconds(2), seconds(0), seconds(30), seconds(3)};
  constexpr std::array kLeases{seconds(1), seconds(2), seconds(30), seconds(2), kLongest};
  const OwnerId owner{.index = bytes[2] % kNumbers};
  const Key key = pick(kKeys, bytes[3]);
  const std::uint32_t number = (bytes[3] >> 2U) % kNumbers;
  const std::uint32_t usual_limit = key.kind == Kind::kLock ? 1 : 2 + bytes[3] % 2;
  const bool other_limit = key.kind == Kind::kSemaphore && bytes[2] >= 0xf4;
  const seconds lease = pick(kLeases, bytes[4]);
  const seconds timeout = pick(kTimeouts, bytes[4] >> 3U);
  Request request{key, other_limit ? 4 : usual_limit, lease};
  request.shared = key.kind == Kind::kLock && bytes[4] >= 128;
  const Legacy legacy{.keeps_grants = bytes[4] % 3 == 0, .orphan_ttl = pick(kTtls, bytes[4] >> 2U)};
  const std::array<Weighted<Command>, 17> commands{{{10, Advance{}},
                                                    {67, Acquire{owner, request, timeout}},
                                                    {40, Enqueue{owner, request}},
                                                    {30, Wait{owner, key, timeout}},
                                                    {4, CancelWait{owner}},
                                                    {4, CancelWaits{owner, legacy}},
                                                    {6, GiveUpPlace{owner, key}},
                                                    {22, Release{key, {}}},
                                                    {14, Renew{owner, key, {}, lease}},
                                                    {22, OpenOwner{}},
                                                    {8, SetRef{owner, number % 3 == 0 ? "y" : "x"}},
                                                    {4, CloseOwner{owner}},
                                                    {8, CloseOwner{owner, legacy}},
                                                    {8, ReserveFences{0, 3 * number}},
                                                    {9, CollectIdle{seconds(owner.index), number}},
                                                    {1, StartDraining{}},
                                                    {1, Advance{}}}};
  // Most tokens are right.
  const std::uint32_t twist = bytes[2] % 5 == 4 ? 1 + bytes[4] % 4 : 0;
  return {step_of(bytes[1]), weighted(commands, bytes[0]), number, twist};
}

void shorten(Command& command, seconds most) {
  const auto cut = [&](auto& any) {
    if constexpr (requires { any.timeout; }) any.timeout = std::min(any.timeout, most);
    if constexpr (requires { any.lease; }) any.lease = std::min(any.lease, most);
    if constexpr (requires { any.legacy; }) {
      any.legacy.orphan_ttl = std::min(any.legacy.orphan_ttl, most);
    }
    if constexpr (requires { any.request; }) {
      any.request.lease = std::min(any.request.lease, most);
    }
  };
  std::visit(cut, command);
}

void showValue(const Setup& setup, std::ostream& out) {
  out << "max_locks " << setup.options.max_locks << ", max_waiters " << setup.options.max_waiters
      << ", max_claims " << setup.options.max_claims << ", fences " << setup.fences;
}

void showValue(const std::vector<Move>& moves, std::ostream& out) {
  for (const Move& move : moves) {
    out << "\n  " << pick(kSteps, static_cast<std::size_t>(move.step)) << ": " << move.command
        << ", pick " << move.pick << ", twist " << move.twist;
  }
}

}  // namespace dflockd::locks
