#include "reactor/connection_watch.hpp"

namespace dflockd::reactor {

ConnectionWatch::ConnectionWatch(asio::io_context& context, const Timeouts& timeouts)
    : timeouts_(timeouts), hangups_(context) {}

void ConnectionWatch::add(Watched& connection, locks::Instant now) {
  ++size_;
  all_.push_back(connection);
  connection.active_at_ = now;
  receiving_.push_back(connection);
}

void ConnectionWatch::remove(Watched& connection) {
  --size_;
  all_.remove(connection);
  list_of(connection).remove(connection);
}

void ConnectionWatch::touch(Watched& connection, locks::Instant now) {
  move(connection, connection.timeout_, now);
}

void ConnectionWatch::watch_sending(Watched& connection, locks::Instant now) {
  move(connection, Watched::Timeout::kWrite, now);
}

void ConnectionWatch::watch_receiving(Watched& connection, locks::Instant now) {
  move(connection, Watched::Timeout::kRead, now);
}

void ConnectionWatch::watch_idle(Watched& connection, locks::Instant now) {
  move(connection, Watched::Timeout::kIdle, now);
}

void ConnectionWatch::tick(locks::Instant now) {
  while (Watched* const silent = take_overdue(receiving_, timeouts_.read, now)) {
    silent->on_silence();
  }
  while (Watched* const idle = take_overdue(idle_, timeouts_.idle, now)) idle->on_silence();
  while (Watched* const stuck = take_overdue(sending_, timeouts_.write, now)) stuck->on_stuck();
}

/// The first of a list if its timeout is over. It moves to the end of the list, so that one which
/// is spared is looked at again a timeout later.
Watched* ConnectionWatch::take_overdue(ByActivity& list, std::chrono::seconds timeout,
                                       locks::Instant now) {
  Watched* const first = list.front();
  if (first == nullptr || now - first->active_at_ < timeout) return nullptr;
  touch(*first, now);
  return first;
}

bool ConnectionWatch::drain() {
  bool busy = false;
  for (Watched* connection = all_.front(); connection != nullptr;
       connection = all_.next(*connection)) {
    connection->on_drain();
    busy = busy || connection->busy();
  }
  return busy;
}

void ConnectionWatch::stop() {
  hangups_.stop();
  for (Watched* connection = all_.front(); connection != nullptr;
       connection = all_.next(*connection)) {
    connection->on_stop();
  }
}

ConnectionWatch::ByActivity& ConnectionWatch::list_of(const Watched& connection) {
  switch (connection.timeout_) {
    case Watched::Timeout::kWrite:
      return sending_;
    case Watched::Timeout::kIdle:
      return idle_;
    case Watched::Timeout::kRead:
      break;
  }
  return receiving_;
}

void ConnectionWatch::move(Watched& connection, Watched::Timeout timeout, locks::Instant now) {
  list_of(connection).remove(connection);
  connection.timeout_ = timeout;
  connection.active_at_ = now;
  list_of(connection).push_back(connection);
}

}  // namespace dflockd::reactor
