#include "systemd/service_manager.hpp"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <stdexcept>
#include <systemd/sd-daemon.h>

namespace dflockd::systemd {

namespace {

constexpr std::string_view kReady = "READY=1";

/// Makes the address that NOTIFY_SOCKET names, and returns its size.
socklen_t parse(const std::string& name, sockaddr_un& address) {
  const bool is_abstract = name.starts_with('@') && name.size() > 1;
  if ((!is_abstract && !name.starts_with('/')) || name.size() > sizeof address.sun_path) {
    throw std::runtime_error("NOTIFY_SOCKET is '" + name +
                             "'; expected an absolute path, or @ and an abstract name, of " +
                             std::to_string(sizeof address.sun_path) + " bytes at most");
  }
  address.sun_family = AF_UNIX;
  std::ranges::copy(name, address.sun_path);
  if (is_abstract) address.sun_path[0] = '\0';
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
}

/// Half of the time that the manager's watchdog waits.
std::optional<std::chrono::microseconds> half_of_watchdog_time() {
  std::uint64_t microseconds = 0;
  const int result = ::sd_watchdog_enabled(0, &microseconds);
  if (result < 0) {
    throw std::runtime_error("WATCHDOG_USEC or WATCHDOG_PID is malformed: " +
                             std::generic_category().message(-result));
  }
  if (result == 0) return std::nullopt;
  return std::chrono::microseconds(microseconds / 2);
}

/// The clock that MONOTONIC_USEC is measured by.
std::chrono::microseconds monotonic_time() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

}  // namespace

ServiceManager::ServiceManager() {
  const char* const name = std::getenv("NOTIFY_SOCKET");
  if (name == nullptr || *name == '\0') return;
  address_size_ = parse(name, address_);
  watchdog_interval_ = half_of_watchdog_time();
  socket_ =
      base::Descriptor(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket for NOTIFY_SOCKET");
}

std::error_code ServiceManager::ready() {
  if (!has_listener()) return {};
  if (unsent_.empty() || unsent_.back() != kReady) unsent_.emplace_back(kReady);
  return send_unsent();
}

std::error_code ServiceManager::reloading() {
  if (!has_listener()) return {};
  unsent_ = {"RELOADING=1\nMONOTONIC_USEC=" + std::to_string(monotonic_time().count())};
  return send_unsent();
}

std::error_code ServiceManager::stopping() {
  if (!has_listener()) return {};
  unsent_ = {"STOPPING=1"};
  return send_unsent();
}

std::error_code ServiceManager::status(std::string_view text) {
  assert(text.find('\n') == std::string_view::npos);  // the next line would be another message
  if (!has_listener()) return {};
  if (const auto error = send_unsent()) return error;
  if (text == status_) return {};
  if (const auto error = send("STATUS=" + std::string(text))) return error;
  status_ = text;
  return {};
}

std::error_code ServiceManager::alive() {
  if (!has_listener()) return {};
  if (const auto error = send_unsent()) return error;
  return send("WATCHDOG=1");
}

std::error_code ServiceManager::send_unsent() {
  while (!unsent_.empty()) {
    if (const auto error = send(unsent_.front())) return error;
    unsent_.erase(unsent_.begin());
  }
  return {};
}

std::error_code ServiceManager::send(std::string_view message) const {
  const ssize_t sent =
      ::sendto(socket_.get(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&address_), address_size_);
  return sent < 0 ? std::error_code(errno, std::generic_category()) : std::error_code();
}

}  // namespace dflockd::systemd
