// Makes the reports that `stats` answers with: one at a time, a slice at a time with everybody else
// served in between, and each for all who had asked the same when it was begun. However many ask
// and however slowly they read, there are only a few reports at a time.
//
//   reporter.ask(asker);   // and then: asker.on_report(report)
//
// It knows no event loop: whoever has one calls `step`, in turns of its own.
//
// For the loop's thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

#include "base/intrusive_list.hpp"
#include "service/stats_report.hpp"

namespace dflockd::service {

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

    std::unique_ptr<const StatsQuery> query_;  ///< null: about all keys
    base::Links<Asker> links_;
    base::IntrusiveList<Asker, &Asker::links_>* list_ = nullptr;  ///< which it is in, if any
  };

  /// `connections` says how many connections there are, and `on_work` is called when `step` is to
  /// be, as often as it says so. `service` must outlive the reporter, and the reporter the reports.
  StatsReporter(Service& service, std::function<std::size_t()> connections,
                std::function<void()> on_work);

  /// Has a report made for `asker`, who may go before it is.
  void ask(Asker& asker, std::optional<StatsQuery> query = {});

  /// Makes a slice of a report, if one is wanted. True if `step` is to be called again.
  bool step();

 private:
  using Askers = base::IntrusiveList<Asker, &Asker::links_>;

  void begin();
  void hand_out(const Report& report);
  Report share(StatsReport::Text text);
  void want_work();
  static void move(Asker& asker, Askers* to);

  Service& service_;
  const std::function<std::size_t()> connections_;
  const std::function<void()> on_work_;
  Askers asking_;
  Askers served_;                      ///< those whose report is being made
  std::optional<StatsReport> making_;  ///< the report for them
  std::size_t reports_ = 0;
  bool working_ = false;  ///< `on_work` was called, and `step` will be
};

}  // namespace dflockd::service
