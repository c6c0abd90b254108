// Reports the state of the daemon to the service manager that started it, such as systemd, in the
// messages of sd_notify(3).
//
//   ServiceManager manager;                       // at the start
//   if (const auto error = manager.ready()) …     // clients may connect
//   manager.status("3 connections, 1 held");      // from time to time
//   if (manager.watchdog_interval()) …            // call `alive` that often
//
// Without NOTIFY_SOCKET in the environment there is no listener: no method does anything, and there
// is no descriptor.
//
// No call waits. The datagrams are sent here because the sd_notify() of systemd
// 252, Debian 12's, blocks for as long as the manager has a full queue and does not read it, which
// would stop the event loop and every client with it. Whether a watchdog watches is asked of
// libsystemd, which only looks at the environment for that.
//
// A state that could not be sent is kept and sent by whichever call comes next: a manager that was
// busy for a moment must not conclude that the daemon never became ready. Only the latest is kept
// of states that replace each other, so there are never more than two.
//
// Every method that sends returns why not all is sent by now, or no error. A full queue is
// `std::errc::resource_unavailable_try_again`. There is nothing to do about an error but to log it.
//
// Not thread-safe.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <sys/socket.h>
#include <sys/un.h>

#include "base/descriptor.hpp"

namespace dflockd::systemd {

class ServiceManager {
 public:
  /// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Throws `std::runtime_error`, whose text
  /// names the variable, if a variable is malformed, and `std::system_error` if there is no socket
  /// to send from.
  ServiceManager();

  /// Clients are served: at the start, or again after `reloading`.
  [[nodiscard]] std::error_code ready();

  /// The configuration is being read again. `ready` has to follow, whether that succeeds or not.
  [[nodiscard]] std::error_code reloading();

  /// The daemon is about to end.
  [[nodiscard]] std::error_code stopping();

  /// A status for people, in one line without a line end. It is sent only if it differs from the
  /// last one, so call it as often as you like.
  [[nodiscard]] std::error_code status(std::string_view text);

  /// How often to call `alive`: twice in the time after which the manager would kill the daemon.
  /// Nothing if it does not watch this process.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog_interval() const {
    return watchdog_interval_;
  }

  /// The event loop turns. If this cannot be sent it is not kept; the next one will do.
  [[nodiscard]] std::error_code alive();

 private:
  [[nodiscard]] bool has_listener() const { return socket_.is_open(); }
  std::error_code send_unsent();
  std::error_code send(std::string_view message) const;

  /// Kept open, so that the watchdog is fed even while the process is out of descriptors. Not
  /// connected, so that a manager that binds its address again is found.
  base::Descriptor socket_;
  sockaddr_un address_{};
  socklen_t address_size_ = 0;
  std::optional<std::chrono::microseconds> watchdog_interval_;
  std::vector<std::string> unsent_;  ///< states, the oldest first
  std::string status_;               ///< what was sent last
};

}  // namespace dflockd::systemd
