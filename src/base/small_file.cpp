#include "base/small_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/descriptor.hpp"
#include "base/text.hpp"

namespace dflockd::base {
namespace {

using namespace std::string_view_literals;

/// More than any of the files needs: bundles of all public authorities take a fifth of it.
constexpr std::size_t kMaxFileSize = 1 << 20;

constexpr const char* kNotRegular = "it is not a regular file";

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw FileError("cannot read " + in_quotes(path) + ": " + why);
}

[[noreturn]] void refuse(const std::string& path, int error) {
  refuse(path, std::generic_category().message(error));
}

/// Reads up to the end of the file, or one byte more than is allowed. Returns false, with `errno`
/// set, if that fails. `expected` is about how many bytes there are.
bool read_into(WipedBytes& buffer, int descriptor, std::size_t expected) {
  constexpr std::size_t kMost = kMaxFileSize + 1;
  std::size_t size = 0;
  buffer.resize(std::min(expected, kMaxFileSize) + 1);
  while (size < kMost) {
    if (size == buffer.size()) buffer.resize(std::min(2 * size, kMost));
    const ssize_t count = ::read(descriptor, buffer.data() + size, buffer.size() - size);
    if (count < 0 && errno == EAGAIN) {  // a pipe that is still being written to
      pollfd more{.fd = descriptor, .events = POLLIN, .revents = 0};
      ::poll(&more, 1, -1);
    } else if (count < 0 && errno != EINTR) {
      return false;
    }
    if (count == 0) break;
    if (count > 0) size += static_cast<std::size_t>(count);
  }
  buffer.resize(size);
  return true;
}

/// Takes the byte-order mark of UTF-8 away, which Windows' editors put in front.
void skip_byte_order_mark(const std::string& path, WipedBytes& bytes) {
  const std::string_view text = view_of(bytes);
  const bool is_utf16 = text.starts_with("\xff\xfe"sv) || text.starts_with("\xfe\xff"sv);
  if (is_utf16 && text.find('\0') != std::string_view::npos) {
    throw FileError("cannot use " + in_quotes(path) + ": it is UTF-16; expected UTF-8");
  }
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  if (text.starts_with(kMark)) bytes.erase(bytes.begin(), bytes.begin() + kMark.size());
}

constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

/// Why trimmed text is no secret, in words that follow the file's name; nullptr if it is one.
const char* why_no_secret(std::string_view text) {
  if (text.empty()) return "it holds no token";
  if (text.find('\n') != std::string_view::npos) return "it holds more than one line";
  if (text.size() > kMaxSecretSize) return "it holds more than 65536 bytes";
  return nullptr;
}

}  // namespace

SmallFile read_small_file(const std::string& path, Pipes pipes) {
  // Without O_NONBLOCK, this would wait for a FIFO without a writer.
  const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat status {};
  if (!descriptor.is_open() || ::fstat(descriptor.get(), &status) != 0) refuse(path, errno);
  if (S_ISDIR(status.st_mode)) refuse(path, EISDIR);
  if (!S_ISREG(status.st_mode) && (!S_ISFIFO(status.st_mode) || pipes == Pipes::kRefuse)) {
    refuse(path, kNotRegular);
  }
  SmallFile file{.bytes = {}, .readable_by_others = (status.st_mode & S_IROTH) != 0};
  if (!read_into(file.bytes, descriptor.get(), static_cast<std::size_t>(status.st_size))) {
    refuse(path, errno);
  }
  if (file.bytes.size() > kMaxFileSize) refuse(path, "it is larger than 1 MiB");
  skip_byte_order_mark(path, file.bytes);
  return file;
}

bool is_secret(std::string_view text) {
  return trim(text, kWhiteSpace) == text && why_no_secret(text) == nullptr;
}

SecretFile read_secret_file(const std::string& path, Pipes pipes) {
  const SmallFile file = read_small_file(path, pipes);
  const std::string_view text = trim(view_of(file.bytes), kWhiteSpace);
  if (const char* const reason = why_no_secret(text)) {
    throw FileError("cannot use " + in_quotes(path) + ": " + reason +
                    "; expected a line of 1 to 65536 bytes");
  }
  return {.secret = Secret(text), .readable_by_others = file.readable_by_others};
}

void check_readable(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) refuse(path, errno);
  if (S_ISDIR(status.st_mode)) refuse(path, EISDIR);
  if (!S_ISREG(status.st_mode)) refuse(path, kNotRegular);
  if (::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) != 0) refuse(path, errno);
}

}  // namespace dflockd::base
