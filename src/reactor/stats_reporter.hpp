// Makes the reports that `stats` answers with: one at a time, a slice at a time with everybody else
// served in between, and each for all who had asked when it was begun. However many ask and however
// slowly they read, there are only a few reports at a time.
//
//   reporter.ask(asker);   // and then: asker.on_report(report)
//
// For the loop's thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "base/intrusive_list.hpp"
#include "net/net.hpp"
#include "reactor/lock_service.hpp"
#include "reactor/stats_report.hpp"

namespace dflockd::reactor {

class StatsReporter {
 public:
  using Report = std::shared_ptr<const StatsReport::Text>;  ///< never null

  /// How many reports there may be that are not sent yet. Whoever asks for another waits.
  static constexpr std::size_t kMostReports = 4;

  /// Somebody who waits for a report.
  class Asker {
   public:
    Asker() = default;
    Asker(const Asker&) = delete;
    Asker& operator=(const Asker&) = delete;

    /// The report on the table as it is after `ask`. Once, unless the asker goes before.
    virtual void on_report(const Report& report) = 0;

   protected:
    ~Asker() { move(*this, nullptr); }

   private:
    friend class StatsReporter;

    base::Links<Asker> links_;
    base::IntrusiveList<Asker, &Asker::links_>* list_ = nullptr;  ///< which it is in, if any
  };

  /// `connections` says how many connections there are. `context` and `service` must outlive the
  /// reporter, and the reporter the reports.
  StatsReporter(asio::io_context& context, LockService& service,
                std::function<std::size_t()> connections);

  /// Has a report made for `asker`, who may go before it is.
  void ask(Asker& asker);

  /// Makes reports until `stop`.
  net::Awaitable run();
  void stop();

 private:
  using Askers = base::IntrusiveList<Asker, &Asker::links_>;

  net::Awaitable make_report();
  void hand_out(const Report& report);
  Report share(StatsReport::Text text);
  static void move(Asker& asker, Askers* to);

  const net::Executor executor_;
  LockService& service_;
  const std::function<std::size_t()> connections_;
  net::Timer idle_;
  Askers asking_;
  Askers served_;  ///< those whose report is being made
  std::size_t reports_ = 0;
  bool stopped_ = false;
};

}  // namespace dflockd::reactor
