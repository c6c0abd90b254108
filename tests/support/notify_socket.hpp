// A service manager's end of sd_notify(3): what NOTIFY_SOCKET names, and the messages sent to it.
//
//   NotifySocket manager;
//   const Server server({.environment = {{"NOTIFY_SOCKET", manager.path()}}});
//   EXPECT_EQ(manager.wait_for("READY"), "READY=1");
//
// Messages are received when they are asked for. Until then the system queues a few, ten perhaps,
// so the object is also a manager that does not read.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/socket.h>
#include <sys/un.h>

#include "support/deadlines.hpp"
#include "support/files.hpp"

namespace dflockd::test {

class NotifySocket {
 public:
  /// A socket in a temporary directory, or one whose name is in no file system.
  enum class Kind : bool { kPath, kAbstract };

  /// Throws `std::system_error` if there is no such socket to be had.
  explicit NotifySocket(Kind kind = Kind::kPath);
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;
  ~NotifySocket();

  /// What NOTIFY_SOCKET has to be.
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Waits for a message that contains `text`, and returns all of it. Messages up to the one that
  /// was returned last are not looked at again. Nothing if none comes in time.
  [[nodiscard]] std::optional<std::string> wait_for(std::string_view text,
                                                    Duration patience = kPatience);

  /// All messages so far.
  [[nodiscard]] const std::vector<std::string>& messages();

  /// Fills the queue, with messages that say nothing. It has room again once messages are received.
  void fill();

 private:
  void bind_in_directory();
  void bind_to_free_name();
  bool receive(Clock::time_point deadline);
  bool send_fillers();
  [[nodiscard]] sockaddr* address() { return reinterpret_cast<sockaddr*>(&address_); }

  int socket_;
  sockaddr_un address_{.sun_family = AF_UNIX, .sun_path = {}};
  socklen_t address_size_ = 0;
  std::optional<TemporaryDirectory> directory_;
  std::string path_;
  std::vector<std::string> messages_;
  std::size_t looked_at_ = 0;  ///< how many messages `wait_for` has been through
};

}  // namespace dflockd::test
