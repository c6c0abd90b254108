// When things may take longer than they should: somebody was stopped, or the network was spoilt.
//
// Safety (who held what, in which order) needs no knowledge of this. What must happen in time does:
// a reply that is late because the driver had stopped the server is nobody's fault.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "history.hpp"

namespace dflockd::history {

class Disturbances {
 public:
  /// `margin` is how long a message and what it causes may take where nothing is wrong.
  Disturbances(const History& history, Time margin);

  /// The time by which everything that was under way at `time` between the server and a client is
  /// done.
  [[nodiscard]] Time settled(Time time, const std::string& slot) const;
  /// The earliest time at which something can have been decided of which the client heard at
  /// `time`.
  [[nodiscard]] Time decided(Time time, const std::string& slot) const;
  /// True if messages may have been lost on the client's network between two times, or before the
  /// later one is settled.
  [[nodiscard]] bool may_lose(Time from, Time to, const std::string& slot) const;

  struct Interval {
    Time begin;
    Time end;  ///< when all have recovered from it
  };
  /// Those of the server, which everybody feels, in order and at least a margin apart.
  [[nodiscard]] const std::vector<Interval>& of_server() const { return server_; }

  /// One life of the server.
  struct Life {
    Time end_begins = kNever;  ///< SIGKILL or SIGTERM is about to be sent
    Time dead = kNever;
    bool drained = false;
  };
  /// The life in which a request that was sent then can have been carried out.
  [[nodiscard]] const Life& life_at(Time time) const;

 private:
  void know_server(const History& history);
  void know_clients(const History& history);
  static void stretch(std::vector<Interval>& intervals);
  void merge(std::vector<Interval>& intervals) const;
  [[nodiscard]] const std::vector<Interval>& of(const std::string& slot) const;

  Time margin_;
  std::vector<Interval> server_;
  std::unordered_map<std::string, std::vector<Interval>> clients_;  ///< with the server's
  std::unordered_map<std::string, std::vector<Interval>> networks_;
  std::vector<Life> lives_;
};

}  // namespace dflockd::history
