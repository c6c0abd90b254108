// The ways into the server: the line protocol and HTTP, each with or without TLS. Both answer in
// the words of the line protocol.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "stream.hpp"

namespace dflockd::history {

/// What to ask.
struct Request {
  std::string verb;  ///< acquire, enqueue, wait, release, renew
  std::string key;   ///< `L:name` or `S:name`
  std::int64_t timeout = 0;
  std::int64_t lease = 0;
  std::int64_t limit = 0;  ///< of a semaphore
  bool shared = false;     ///< acquire, enqueue
  std::string token{};

  [[nodiscard]] bool is_semaphore() const { return key.starts_with("S:"); }
  [[nodiscard]] std::string name() const { return key.substr(2); }
  /// As a history has it.
  [[nodiscard]] std::string record() const;
};

/// An owner of locks: a connection of the line protocol, or an HTTP session. Not thread-safe.
class Door {
 public:
  virtual ~Door() = default;

  /// Becomes an owner, under the stable ref if it is not empty: once, before anything is asked.
  /// Throws Lost, Impatient.
  virtual void enter(const std::string& ref, Clock::time_point deadline) = 0;

  /// Asks and returns the reply. `seen`, if there is one, is called as soon as it is known that the
  /// server has read the request; not every door can know before it answers. Throws Lost,
  /// Impatient.
  virtual std::string ask(const Request& request, Clock::time_point deadline,
                          const std::function<void()>& seen = {}) = 0;

  /// True if what the door stands for outlives a connection that was lost.
  [[nodiscard]] virtual bool outlives_connection() const = 0;
  /// Connects again, where that makes sense. Throws Lost, Impatient.
  virtual void reconnect(Clock::time_point deadline) = 0;

  /// Ends it in an orderly way. True if the server has confirmed that it is ended.
  virtual bool leave(Clock::time_point deadline) = 0;
  /// Whether `leave` asks the server.
  [[nodiscard]] bool leaves_by_request() const { return outlives_connection(); }
  /// Leaves with a reset, or without a word.
  virtual void vanish(bool reset) = 0;
};

struct Server {
  std::string host;
  std::uint16_t port = 0;
  std::uint16_t http_port = 0;
  TlsContext tls;
  std::string secret;  ///< empty if the server has none
};

/// Opens a door: tcp, tls, http or https. Throws Lost, Impatient.
std::unique_ptr<Door> open_door(std::string_view kind, const Server& server,
                                Clock::time_point deadline);

}  // namespace dflockd::history
