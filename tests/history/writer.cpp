#include "writer.hpp"

#include <cerrno>
#include <chrono>
#include <sstream>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace dflockd::history {

std::int64_t monotonic_now() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Writer::Writer(const std::string& path)
    : file_(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)) {
  if (file_ < 0) throw std::system_error(errno, std::generic_category(), path);
}

Writer::~Writer() {
  ::close(file_);
}

std::uint64_t Writer::open(std::string_view door, std::string_view ref) {
  const std::uint64_t number = ++connections_;
  write('O', number, std::string(door).append(ref.empty() ? "" : " ").append(ref));
  return number;
}

std::uint64_t Writer::invoke(std::uint64_t connection, std::string_view request) {
  const std::uint64_t number = ++operations_;
  write('I', number, std::to_string(connection).append(" ").append(request));
  return number;
}

void Writer::write(char kind, std::uint64_t number, std::string_view rest) const {
  std::string line{kind, ' '};
  line.append(std::to_string(monotonic_now())).append(" ").append(std::to_string(number));
  if (!rest.empty()) line.append(" ").append(rest);
  line += '\n';
  if (::write(file_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    throw std::system_error(errno, std::generic_category(), "history");
  }
}

std::string words_of(std::string_view verb, std::string_view reply) {
  std::istringstream text{std::string(reply)};
  std::vector<std::string> words;
  for (std::string word; text >> word;) words.push_back(word);
  if (words.size() == 3) return words[0] + " token=" + words[1] + " lease=" + words[2];
  if (words.size() == 2 && verb == "renew") return words[0] + " lease=" + words[1];
  return std::string(reply);
}

}  // namespace dflockd::history
