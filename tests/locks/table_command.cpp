#include "table_command.hpp"

#include <ostream>

#include "recorder.hpp"

namespace dflockd::locks {

namespace {

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

bool names_a_key(Op op) {
  switch (op) {
    case Op::kAcquire:
    case Op::kEnqueue:
    case Op::kWait:
    case Op::kGiveUpPlace:
      return true;
    default:
      return false;
  }
}

bool names_an_owner(Op op) {
  switch (op) {
    case Op::kCancelWait:
    case Op::kCancelWaits:
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
    case Op::kCancelWaits:
      return "cancel waits";
    case Op::kGiveUpPlace:
      return "give up place";
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
      << ", max_claims " << setup.options.max_claims << ", fences " << setup.fences;
}

void showValue(const Draft& command, std::ostream& out) {
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

void showValue(const std::vector<Draft>& commands, std::ostream& out) {
  for (const Draft& command : commands) {
    out << "\n  ";
    showValue(command, out);
  }
}

}  // namespace dflockd::locks
