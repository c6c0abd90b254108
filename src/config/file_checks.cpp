#include "config/file_checks.hpp"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace dflockd::config {
namespace {

namespace fs = std::filesystem;

/// Whether the process's effective user has all of `rights` (R_OK, W_OK, X_OK) to `path`.
bool may(const fs::path& path, int rights) {
  return ::faccessat(AT_FDCWD, path.c_str(), rights, AT_EACCESS) == 0;
}

std::optional<std::string> why_not_creatable_in(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    return "its directory does not exist";
  }
  if (!may(directory, R_OK | W_OK | X_OK)) {
    return "it does not exist, and its directory is not readable and writable";
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> why_unusable_as_state(const fs::path& file) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  switch (status.type()) {
    case fs::file_type::regular:
      if (!may(file, R_OK | W_OK)) {
        return "it is not readable and writable";
      }
      return std::nullopt;
    case fs::file_type::not_found:
      if (fs::is_symlink(fs::symlink_status(file, error))) {
        return "it is a link to a file that does not exist";
      }
      return why_not_creatable_in(file.has_parent_path() ? file.parent_path() : fs::path("."));
    case fs::file_type::none:
      return error.message();
    default:
      return "it is not a regular file";
  }
}

}  // namespace dflockd::config
