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
  move(connection, list_of(connection), now);
}

void ConnectionWatch::watch_sending(Watched& connection, locks::Instant now) {
  move(connection, sending_, now);
  connection.sending_ = true;
}

void ConnectionWatch::watch_receiving(Watched& connection, locks::Instant now) {
  move(connection, receiving_, now);
  connection.sending_ = false;
}

/// Each connection that is overdue moves to the end of its list, so that those which are spared are
/// looked at again a timeout later.
void ConnectionWatch::tick(locks::Instant now) {
  while (!receiving_.empty() && now - receiving_.front()->active_at_ >= timeouts_.read) {
    Watched& silent = *receiving_.front();
    touch(silent, now);
    silent.on_silence();
  }
  while (!sending_.empty() && now - sending_.front()->active_at_ >= timeouts_.write) {
    Watched& stuck = *sending_.front();
    touch(stuck, now);
    stuck.on_stuck();
  }
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
  return connection.sending_ ? sending_ : receiving_;
}

void ConnectionWatch::move(Watched& connection, ByActivity& to, locks::Instant now) {
  list_of(connection).remove(connection);
  connection.active_at_ = now;
  to.push_back(connection);
}

}  // namespace dflockd::reactor
