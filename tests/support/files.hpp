// Files that a test makes, and a folder of its own for them.
//
//   const TemporaryDirectory directory;
//   Server server({"--auth-token-file", directory.write("token", "secret\n")});
#pragma once

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

#include <unistd.h>

namespace dflockd::test {

struct Identity;
struct IdentityFiles;

inline std::string read_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A new directory, removed with everything in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = std::filesystem::temp_directory_path() / "dflockd-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) {
      throw std::system_error(errno, std::generic_category(), pattern);
    }
    path_ = std::filesystem::canonical(pattern);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// The path of a file in it.
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const {
    return path_ / name;
  }
  [[nodiscard]] std::string file(std::string_view name) const { return path_ / name; }

  /// Replaces a file at once, as one should who rotates certificates, and returns its path. Only
  /// its owner may read it.
  std::string write(const std::string& name, std::string_view content) const {
    const std::string fresh = file(name + ".new");
    write_file(fresh, "");
    std::filesystem::permissions(
        fresh, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    write_file(fresh, content);
    std::filesystem::rename(fresh, file(name));
    return file(name);
  }
  /// Writes NAME.crt and NAME.key: see certificates.hpp.
  IdentityFiles write(const std::string& name, const Identity& identity) const;

 private:
  std::filesystem::path path_;
};

/// While it lives, root is an ordinary user, whom file modes stop; others are that anyway.
class WithoutRootsRights {
 public:
  WithoutRootsRights() {
    constexpr uid_t kNobody = 65534;
    if (was_ == 0 && ::seteuid(kNobody) != 0) std::abort();
  }
  WithoutRootsRights(const WithoutRootsRights&) = delete;
  WithoutRootsRights& operator=(const WithoutRootsRights&) = delete;
  ~WithoutRootsRights() {
    if (::seteuid(was_) != 0) std::abort();
  }

 private:
  const uid_t was_ = ::geteuid();
};

}  // namespace dflockd::test
