#include "any_command.hpp"

namespace dflockd::locks {

namespace {

using std::chrono::seconds;

rc::Gen<Op> any_op() {
  return rc::gen::weightedElement<Op>({{20, Op::kAdvance},
                                       {150, Op::kAcquire},
                                       {80, Op::kEnqueue},
                                       {60, Op::kWait},
                                       {8, Op::kCancelWait},
                                       {8, Op::kCancelWaits},
                                       {12, Op::kGiveUpPlace},
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

rc::Gen<Draft> any_command() {
  return rc::gen::build<Draft>(
      rc::gen::set(&Draft::op, any_op()), rc::gen::set(&Draft::step, any_step()),
      rc::gen::set(&Draft::owner, rc::gen::resize(100, rc::gen::inRange<std::uint32_t>(0, 6))),
      rc::gen::set(&Draft::key, rc::gen::resize(100, rc::gen::inRange<std::uint32_t>(0, 4))),
      rc::gen::set(&Draft::pick, rc::gen::resize(100, rc::gen::inRange<std::uint32_t>(0, 6))),
      rc::gen::set(&Draft::other_limit, rc::gen::weightedElement<bool>({{19, false}, {1, true}})),
      rc::gen::set(&Draft::timeout,
                   rc::gen::element(seconds(0), seconds(2), seconds(3), seconds(30), kLongest)),
      rc::gen::set(&Draft::lease,
                   rc::gen::weightedElement<seconds>(
                       {{4, seconds(1)}, {4, seconds(2)}, {4, seconds(30)}, {1, kLongest}})));
}

}  // namespace

rc::Gen<Setup> any_setup() {
  return rc::gen::apply(
      [](std::size_t max_locks, std::size_t max_waiters, std::size_t max_claims,
         std::uint64_t fences) {
        return Setup{{max_locks, max_waiters, max_claims}, fences};
      },
      rc::gen::element<std::size_t>(0, 2, 3), rc::gen::element<std::size_t>(0, 1, 3),
      rc::gen::weightedElement<std::size_t>({{4, 0}, {1, 3}, {1, 8}}),
      rc::gen::weightedElement<std::uint64_t>({{8, 1'000'000}, {1, 0}, {2, 20}}));
}

rc::Gen<std::vector<Draft>> any_commands() {
  // RapidCheck's sizes go up to 100, and a table has more to show than that.
  return rc::gen::scale(6, rc::gen::container<std::vector<Draft>>(any_command()));
}

}  // namespace dflockd::locks
