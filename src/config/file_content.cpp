#include "config/file_content.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/refusal.hpp"

namespace dflockd::config {
namespace {

/// More than any of the files needs.
constexpr std::size_t kMaxFileSize = 1 << 20;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }

  [[nodiscard]] int number() const { return number_; }

 private:
  const int number_;
};

/// Reads up to the end of the file, or one byte more than is allowed. Returns false, with `errno`
/// set, if that fails. `expected` is about how many bytes there are.
bool read_into(WipedBytes& buffer, int descriptor, std::size_t expected) {
  constexpr std::size_t kMost = kMaxFileSize + 1;
  std::size_t size = 0;
  buffer.resize(std::min(expected, kMaxFileSize) + 1);
  while (size < kMost) {
    if (size == buffer.size()) buffer.resize(std::min(2 * size, kMost));
    const ssize_t count = ::read(descriptor, buffer.data() + size, buffer.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  buffer.resize(size);
  return true;
}

}  // namespace

FileContent read_file(const std::filesystem::path& file, const std::string& source) {
  const auto refuse = [&](const std::string& why) {
    throw Refusal(source + ": " + in_quotes(file.string()) + " cannot be read: " + why);
  };
  // Without O_NONBLOCK, a FIFO would be waited for here.
  const Descriptor descriptor(::open(file.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat status {};
  if (descriptor.number() < 0 || ::fstat(descriptor.number(), &status) != 0) {
    refuse(std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    refuse("it is not a regular file");
  }
  FileContent content{.bytes = {}, .readable_by_others = (status.st_mode & S_IROTH) != 0};
  if (!read_into(content.bytes, descriptor.number(), static_cast<std::size_t>(status.st_size))) {
    refuse(std::strerror(errno));
  }
  if (content.bytes.size() > kMaxFileSize) {
    refuse("it is larger than 1 MiB");
  }
  return content;
}

}  // namespace dflockd::config
