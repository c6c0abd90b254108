#include "activated_child.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <system_error>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace dflockd::systemd {

namespace {

constexpr int kFirstHandedDown = 3;
constexpr int kOutOfTheWay = 100;

/// Brings the descriptors to where they are looked for.
void place(const std::vector<HandedDown>& sockets) {
  std::vector<int> copies;
  copies.reserve(sockets.size());
  for (const HandedDown& socket : sockets) {
    copies.push_back(::fcntl(socket.descriptor, F_DUPFD_CLOEXEC, kOutOfTheWay));
  }
  int target = kFirstHandedDown;
  for (const int copy : copies) {
    ::dup2(copy, target++);
    ::close(copy);
  }
}

void set_variables(const std::vector<HandedDown>& sockets, const Variables& variables) {
  std::string names;
  for (const HandedDown& socket : sockets) {
    names.append(names.empty() ? "" : ":").append(socket.name);
  }
  Variables all = variables;
  all.insert({{"LISTEN_FDS", std::to_string(sockets.size())},
              {"LISTEN_FDNAMES", names},
              {"LISTEN_PID", std::to_string(::getpid())}});
  for (const auto& [name, value] : all) {
    if (value) {
      ::setenv(name.c_str(), value->c_str(), 1);
    } else {
      ::unsetenv(name.c_str());
    }
  }
}

std::string result_of(const std::function<std::string()>& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    return error.what();
  }
}

std::string read_to_end(int descriptor) {
  std::string text;
  std::array<char, 4096> bytes;
  for (ssize_t size; (size = ::read(descriptor, bytes.data(), bytes.size())) > 0;) {
    text.append(bytes.data(), static_cast<std::size_t>(size));
  }
  return text;
}

}  // namespace

std::string run_activated(const std::vector<HandedDown>& sockets,
                          const std::function<std::string()>& body, const Variables& variables) {
  std::array<int, 2> result{};
  if (::pipe2(result.data(), O_CLOEXEC) != 0) {
    throw std::system_error(errno, std::generic_category(), "pipe2");
  }
  const pid_t child = ::fork();
  if (child == 0) {
    const int answer = ::fcntl(result[1], F_DUPFD_CLOEXEC, kOutOfTheWay);
    place(sockets);
    set_variables(sockets, variables);
    const std::string text = result_of(body);
    const bool sent = ::write(answer, text.data(), text.size()) == std::ssize(text);
    ::_exit(sent ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  ::close(result[1]);
  const std::string text = read_to_end(result[0]);
  ::close(result[0]);
  int status = -1;
  ::waitpid(child, &status, 0);
  return status == 0 ? text : "the child ended with wait status " + std::to_string(status);
}

}  // namespace dflockd::systemd
