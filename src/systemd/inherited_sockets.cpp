#include "systemd/inherited_sockets.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <systemd/sd-daemon.h>
#include <utility>

#include <sys/socket.h>

namespace dflockd::systemd {

namespace {

struct FreeList {
  void operator()(char** list) const {
    for (char** text = list; *text != nullptr; ++text) std::free(*text);
    std::free(list);
  }
};

/// The names of the inherited descriptors, which begin at SD_LISTEN_FDS_START.
std::vector<std::string> inherited_names() {
  char** listed = nullptr;
  const int count = ::sd_listen_fds_with_names(0, &listed);
  if (count < 0) {
    throw std::runtime_error("cannot inherit what LISTEN_FDS and LISTEN_FDNAMES tell of: " +
                             std::generic_category().message(-count));
  }
  const std::unique_ptr<char*, FreeList> list(listed);
  return {listed, listed + count};
}

bool is_known(std::string_view name) {
  return name == "tcp" || name == "http";
}

bool is_listening_stream_socket(int descriptor) {
  constexpr int kListening = 1;
  constexpr int kAnyPort = 0;
  return ::sd_is_socket_inet(descriptor, AF_UNSPEC, SOCK_STREAM, kListening, kAnyPort) > 0;
}

}  // namespace

InheritedSockets::InheritedSockets() {
  int descriptor = SD_LISTEN_FDS_START;
  for (std::string& name : inherited_names()) add(std::move(name), descriptor++);
}

std::optional<int> InheritedSockets::take(std::string_view name) {
  const auto found = std::ranges::find(inherited_, name, &Inherited::name);
  if (found == inherited_.end()) return std::nullopt;
  const int descriptor = found->descriptor.release();
  inherited_.erase(found);
  return descriptor;
}

void InheritedSockets::add(std::string name, int descriptor) {
  const std::string which = "inherited descriptor " + std::to_string(descriptor);
  if (!is_known(name)) {
    throw std::runtime_error(which + " is named '" + name +
                             "'; expected tcp or http (FileDescriptorName= of its socket unit)");
  }
  if (std::ranges::find(inherited_, name, &Inherited::name) != inherited_.end()) {
    throw std::runtime_error(which + " is a second one named '" + name + "'; expected one at most");
  }
  if (!is_listening_stream_socket(descriptor)) {
    throw std::runtime_error(which + ", named '" + name +
                             "', is not a listening IPv4 or IPv6 stream socket");
  }
  inherited_.push_back({std::move(name), base::Descriptor(descriptor)});
}

}  // namespace dflockd::systemd
