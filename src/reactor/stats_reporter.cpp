#include "reactor/stats_reporter.hpp"

#include <utility>

#include <asio/post.hpp>

namespace dflockd::reactor {

StatsReporter::StatsReporter(asio::io_context& context, LockService& service,
                             std::function<std::size_t()> connections)
    : executor_(context.get_executor()),
      service_(service),
      connections_(std::move(connections)),
      idle_(context.get_executor(), net::Timer::time_point::max()) {}

void StatsReporter::ask(Asker& asker) {
  move(asker, &asking_);
  idle_.cancel();
}

net::Awaitable StatsReporter::run() {
  while (!stopped_) {
    if (asking_.empty() || reports_ >= kMostReports) {
      std::error_code wanted;
      co_await idle_.async_wait(net::into(wanted));
    } else {
      co_await make_report();
    }
  }
}

void StatsReporter::stop() {
  stopped_ = true;
  idle_.cancel();
}

/// Makes a report for all who are asking now. Stops early if all of them go.
net::Awaitable StatsReporter::make_report() {
  while (Asker* const asker = asking_.front()) move(*asker, &served_);
  service_.refresh_clock();
  StatsReport report(service_, connections_());
  while (report.read_slice()) {
    co_await asio::post(executor_, net::kUseAwaitable);
    if (stopped_ || served_.empty()) co_return;
    service_.refresh_clock();
  }
  hand_out(share(report.finish()));
}

void StatsReporter::hand_out(const Report& report) {
  while (Asker* const asker = served_.front()) {
    move(*asker, nullptr);
    asker->on_report(report);
  }
}

/// A report that is counted as long as somebody has it.
StatsReporter::Report StatsReporter::share(StatsReport::Text text) {
  auto owned = std::make_unique<const StatsReport::Text>(std::move(text));
  ++reports_;
  return Report(owned.release(), [this](const StatsReport::Text* sent) {
    delete sent;
    --reports_;
    idle_.cancel();
  });
}

/// Moves an asker from the list that it is in to another, or to none.
void StatsReporter::move(Asker& asker, Askers* to) {
  if (asker.list_ != nullptr) asker.list_->remove(asker);
  asker.list_ = to;
  if (to != nullptr) to->push_back(asker);
}

}  // namespace dflockd::reactor
