// Feeds a sequence of operations to a lock table and to the naive model that the property tests
// have. What can be seen of the two must agree after each; at the end, owners that go leave nothing
// behind, and so does time.
//
// Two bytes are what the table starts from, and four each make a command; whatever they are, they
// make one. The bits are in `command_of`.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "check.hpp"
#include "duel.hpp"
#include "locks/lock_table.hpp"
#include "table_command.hpp"

namespace {

using dflockd::fuzz::check;
using namespace dflockd::locks;
using std::chrono::seconds;
using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t kSetupSize = 2;
constexpr std::size_t kCommandSize = 4;
/// The model does not get faster.
constexpr std::size_t kMostCommands = 200;

/// How it ends. What must be left then does not go with everything that may happen before.
enum class End : std::uint8_t { kAnyhow, kOwnersGo, kTimePasses };

template <class T, std::size_t kSize>
T pick(const std::array<T, kSize>& from, std::size_t number) {
  return from[number % kSize];
}

/// As the property tests start.
Setup setup_of(Bytes bytes) {
  constexpr std::array<std::size_t, 4> kMaxLocks{0, 2, 3, 1};
  constexpr std::array<std::size_t, 4> kMaxWaiters{0, 1, 3, 2};
  constexpr std::array<std::uint64_t, 4> kFences{1'000'000, 20, 0, 3};
  constexpr std::array<std::size_t, 4> kMaxClaims{0, 8, 3, 0};
  Setup setup;
  setup.options.max_locks = pick(kMaxLocks, bytes[0]);
  setup.options.max_waiters = pick(kMaxWaiters, bytes[0] >> 2U);
  setup.fences = pick(kFences, bytes[0] >> 4U);
  setup.options.max_claims = pick(kMaxClaims, bytes[0] >> 6U);
  return setup;
}

Op op_of(std::uint8_t byte) {
  // Draining is the end of most that is worth looking at.
  constexpr std::uint8_t kDrain = 0xdd;
  if (byte == kDrain) return Op::kStartDraining;
  constexpr std::array kOps{Op::kAcquire,
                            Op::kEnqueue,
                            Op::kWait,
                            Op::kRelease,
                            Op::kAdvance,
                            Op::kRenew,
                            Op::kCancelWait,
                            Op::kReleaseWithWrongToken,
                            Op::kRenewWithWrongToken,
                            Op::kOpenOwner,
                            Op::kCloseOwner,
                            Op::kCloseOwnerKeepingGrants,
                            Op::kReserveFences,
                            Op::kCollectIdle,
                            Op::kVisitSlice,
                            Op::kAcquire};
  return pick(kOps, byte);
}

Draft command_of(Bytes bytes) {
  constexpr std::array kSteps{
      Step::kSameTime,       Step::kToNextDeadline, Step::kSameTime,
      Step::kOneNanosecond,  Step::kOneSecond,      Step::kSameTime,
      Step::kThirdOfASecond, Step::kTwoSeconds,     Step::kJustBeforeNextDeadline,
      Step::kSameTime,       Step::kBackwards,      Step::kOneMinute,
      Step::kSameTime,       Step::kSameTime,       Step::kToNextDeadline,
      Step::kSameTime};
  constexpr std::array kTimeouts{seconds(30), seconds(0), seconds(2), seconds(3), kLongest};
  constexpr std::array kLeases{seconds(1), seconds(2), seconds(30), kLongest};
  constexpr std::uint32_t kNumbers = 6;  // as many as the property tests have
  Draft command;
  command.op = op_of(bytes[0]);
  command.step = pick(kSteps, bytes[1]);
  command.owner = (bytes[1] >> 4U) % kNumbers;
  command.key = bytes[2] % kKeys.size();
  command.pick = (bytes[2] >> 2U) % kNumbers;
  command.other_limit = bytes[2] >= 0xf0;
  command.lease = pick(kLeases, bytes[3]);
  command.timeout = pick(kTimeouts, bytes[3] >> 2U);
  return command;
}

void check_nobody_is_there(const LockTable& table) {
  const TableCounts& counts = table.counts();
  check(table.held() == 0 && counts.lock_waiters + counts.semaphore_waiters == 0,
        "nobody holds or waits at the end");
}

void close_all_owners(Duel& duel) {
  while (!duel.owners().empty()) {
    duel.perform({.op = Op::kCloseOwner, .now = duel.now(), .owner = duel.owners().front()});
  }
  LockTable& table = duel.table();
  check_nobody_is_there(table);
  check(table.next_deadline() == kNever, "nothing is due at the end");
  const std::size_t keys = table.counts().keys;
  check(table.apply(duel.now(), CollectIdle{Instant(0), keys}).dropped == keys && keys_of(table).empty(),
        "all keys can be collected at the end");
}

void let_time_pass(Duel& duel) {
  while (duel.table().next_deadline() != kNever) {
    duel.perform({.op = Op::kAdvance, .now = duel.table().next_deadline()});
  }
  check_nobody_is_there(duel.table());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  if (bytes.size() < kSetupSize) return -1;  // not worth keeping
  const auto end = static_cast<End>(bytes[1] % 3);
  Duel duel(setup_of(bytes));
  bytes = bytes.subspan(kSetupSize);
  for (std::size_t i = 0; i < kMostCommands && bytes.size() >= kCommandSize; ++i) {
    Draft command = command_of(bytes);
    bytes = bytes.subspan(kCommandSize);
    const bool keeps = command.op == Op::kCloseOwnerKeepingGrants;
    if (end == End::kOwnersGo && keeps) command.op = Op::kCloseOwner;
    if (end == End::kTimePasses) {
      command.lease = std::min(command.lease, seconds(5));
      command.timeout = std::min(command.timeout, seconds(5));
    }
    duel.run_command(command);
  }
  if (end == End::kOwnersGo) close_all_owners(duel);
  if (end == End::kTimePasses) let_time_pass(duel);
  return 0;
}
