#include "table_command.hpp"

#include <ostream>

#include "recorder.hpp"

namespace dflockd::locks {

namespace {

using std::chrono::seconds;

constexpr seconds kHuge{9223372036};  // The most that the protocol lets a client ask for.

const char* name_of(Step step) {
  switch (step) {
    case Step::kSameTime:
      return "at once";
    case Step::kOneNanosecond:
      return "1 ns later";
    case Step::kThirdOfASecond:
      return "333 ms later";
    case Step::kOneSecond:
      return "1 s later";
    case Step::kTwoSeconds:
      return "2 s later";
    case Step::kToNextDeadline:
      return "at the next deadline";
    case Step::kJustBeforeNextDeadline:
      return "1 ns before the next deadline";
    case Step::kOneMinute:
      return "60 s later";
    case Step::kBackwards:
      return "1 s earlier";
  }
  return "at a time without a name";
}

rc::Gen<Op> any_op() {
  return rc::gen::weightedElement<Op>({{20, Op::kAdvance},
                                       {150, Op::kAcquire},
                                       {80, Op::kEnqueue},
                                       {60, Op::kWait},
                                       {8, Op::kCancelWait},
                                       {40, Op::kRelease},
                                       {20, Op::kRenew},
                                       {6, Op::kReleaseWithWrongToken},
                                       {6, Op::kRenewWithWrongToken},
                                       {40, Op::kOpenOwner},
                                       {6, Op::kCloseOwner},
                                       {8, Op::kCloseOwnerKeepingGrants},
                                       {15, Op::kReserveFences},
                                       {12, Op::kCollectIdle},
                                       {12, Op::kVisitSlice},
                                       {1, Op::kStartDraining}});
}

rc::Gen<Step> any_step() {
  return rc::gen::weightedElement<Step>({{60, Step::kSameTime},
                                         {2, Step::kOneNanosecond},
                                         {4, Step::kThirdOfASecond},
                                         {4, Step::kOneSecond},
                                         {1, Step::kTwoSeconds},
                                         {6, Step::kToNextDeadline},
                                         {3, Step::kJustBeforeNextDeadline},
                                         {1, Step::kOneMinute},
                                         {1, Step::kBackwards}});
}

rc::Gen<Command> any_command() {
  return rc::gen::build<Command>(
      rc::gen::set(&Command::op, any_op()), rc::gen::set(&Command::step, any_step()),
      rc::gen::set(&Command::owner, rc::gen::resize(100, rc::gen::inRange<std::uint32_t>(0, 6))),
      rc::gen::set(&Command::key, rc::gen::resize(100, rc::gen::inRange<std::uint32_t>(0, 4))),
      rc::gen::set(&Command::pick, rc::gen::resize(100, rc::gen::inRange<std::uint32_t>(0, 6))),
      rc::gen::set(&Command::other_limit, rc::gen::weightedElement<bool>({{19, false}, {1, true}})),
      rc::gen::set(&Command::timeout,
                   rc::gen::element(seconds(0), seconds(2), seconds(3), seconds(30), kHuge)),
      rc::gen::set(&Command::lease,
                   rc::gen::weightedElement<seconds>(
                       {{4, seconds(1)}, {4, seconds(2)}, {4, seconds(30)}, {1, kHuge}})));
}

bool names_a_key(Op op) {
  switch (op) {
    case Op::kAcquire:
    case Op::kEnqueue:
    case Op::kWait:
      return true;
    default:
      return false;
  }
}

bool names_an_owner(Op op) {
  switch (op) {
    case Op::kCancelWait:
    case Op::kCloseOwner:
    case Op::kCloseOwnerKeepingGrants:
      return true;
    default:
      return names_a_key(op);
  }
}

bool picks(Op op) {
  switch (op) {
    case Op::kRelease:
    case Op::kRenew:
    case Op::kReleaseWithWrongToken:
    case Op::kRenewWithWrongToken:
    case Op::kCloseOwnerKeepingGrants:
    case Op::kReserveFences:
    case Op::kCollectIdle:
    case Op::kVisitSlice:
      return true;
    default:
      return false;
  }
}

}  // namespace

rc::Gen<Setup> any_setup() {
  return rc::gen::apply(
      [](std::size_t max_locks, std::size_t max_waiters, std::uint64_t fences) {
        return Setup{{max_locks, max_waiters}, fences};
      },
      rc::gen::element<std::size_t>(0, 2, 3), rc::gen::element<std::size_t>(0, 1, 3),
      rc::gen::weightedElement<std::uint64_t>({{8, 1'000'000}, {1, 0}, {2, 20}}));
}

rc::Gen<std::vector<Command>> any_commands() {
  // RapidCheck's sizes go up to 100, and a table has more to show than that.
  return rc::gen::scale(6, rc::gen::container<std::vector<Command>>(any_command()));
}

const char* name_of(Op op) {
  switch (op) {
    case Op::kAdvance:
      return "advance";
    case Op::kAcquire:
      return "acquire";
    case Op::kEnqueue:
      return "enqueue";
    case Op::kWait:
      return "wait";
    case Op::kCancelWait:
      return "cancel wait";
    case Op::kRelease:
      return "release";
    case Op::kRenew:
      return "renew";
    case Op::kReleaseWithWrongToken:
      return "release with a wrong token";
    case Op::kRenewWithWrongToken:
      return "renew with a wrong token";
    case Op::kOpenOwner:
      return "open owner";
    case Op::kCloseOwner:
      return "close owner";
    case Op::kCloseOwnerKeepingGrants:
      return "close owner, keeping its grants";
    case Op::kReserveFences:
      return "reserve fences";
    case Op::kCollectIdle:
      return "collect idle";
    case Op::kVisitSlice:
      return "visit a slice";
    case Op::kStartDraining:
      return "start draining";
  }
  return "an operation without a name";
}

void showValue(const Setup& setup, std::ostream& out) {
  out << "max_locks " << setup.options.max_locks << ", max_waiters " << setup.options.max_waiters
      << ", fences " << setup.fences;
}

void showValue(const Command& command, std::ostream& out) {
  out << name_of(command.step) << ": " << name_of(command.op);
  if (names_an_owner(command.op)) out << ", owner #" << command.owner;
  if (names_a_key(command.op)) {
    out << ", " << kKeys[command.key] << (command.other_limit ? " with another limit" : "");
  }
  if (picks(command.op)) out << ", pick " << command.pick;
  if (command.op == Op::kAcquire || command.op == Op::kWait) {
    out << ", timeout " << command.timeout.count() << " s";
  }
  if (command.op == Op::kAcquire || command.op == Op::kEnqueue || command.op == Op::kRenew) {
    out << ", lease " << command.lease.count() << " s";
  }
}

void showValue(const std::vector<Command>& commands, std::ostream& out) {
  for (const Command& command : commands) {
    out << "\n  ";
    showValue(command, out);
  }
}

}  // namespace dflockd::locks
