#include "service/stats_reporter.hpp"

#include <utility>

namespace dflockd::service {

StatsReporter::StatsReporter(Service& service, std::function<std::size_t()> connections,
                             std::function<void()> on_work)
    : service_(service), connections_(std::move(connections)), on_work_(std::move(on_work)) {}

void StatsReporter::ask(Asker& asker, std::optional<StatsQuery> query) {
  asker.query_ = query ? std::make_unique<const StatsQuery>(*std::move(query)) : nullptr;
  move(asker, &asking_);
  want_work();
}

void StatsReporter::want_work() {
  if (working_ || asking_.empty() || reports_ >= kMostReports) return;
  working_ = true;
  on_work_();
}

/// Begins the report that whoever has asked first waits for, for all who have asked the same.
void StatsReporter::begin() {
  const StatsQuery* const asked = asking_.front()->query_.get();
  making_.emplace(service_, connections_(),
                  asked != nullptr ? std::optional(*asked) : std::nullopt);
  for (Asker* next = asking_.front(); next != nullptr;) {
    Asker& asker = *std::exchange(next, asking_.next(*next));
    const bool same = asker.query_ ? making_->query() == *asker.query_ : !making_->query();
    if (same) move(asker, &served_);
  }
}

/// A report is given up if all whom it is for go.
bool StatsReporter::step() {
  if (making_ && served_.empty()) making_.reset();
  if (!making_ && !asking_.empty() && reports_ < kMostReports) begin();
  if (making_ && !making_->read_slice()) {
    const Report report = share(making_->finish());
    making_.reset();
    hand_out(report);
  }
  working_ = making_ || (!asking_.empty() && reports_ < kMostReports);
  return working_;
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
    want_work();
  });
}

/// Moves an asker from the list that it is in to another, or to none.
void StatsReporter::move(Asker& asker, Askers* to) {
  if (asker.list_ != nullptr) asker.list_->remove(asker);
  asker.list_ = to;
  if (to != nullptr) to->push_back(asker);
}

}  // namespace dflockd::service
