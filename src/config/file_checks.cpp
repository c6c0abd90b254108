#include "config/file_checks.hpp"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "base/text.hpp"

namespace dflockd::config {
namespace {

namespace fs = std::filesystem;

/// What keeps the process's effective user from having all of `rights` (R_OK, W_OK, X_OK) to
/// `path`.
std::error_code what_keeps_from(int rights, const fs::path& path) {
  if (::faccessat(AT_FDCWD, path.c_str(), rights, AT_EACCESS) == 0) return {};
  return {errno, std::generic_category()};
}

std::optional<std::string> why_not_creatable_in(const fs::path& directory) {
  std::error_code error;
  const bool is_directory = fs::is_directory(directory, error);
  if (!error && !is_directory) error = std::make_error_code(std::errc::not_a_directory);
  if (!error) error = what_keeps_from(R_OK | W_OK | X_OK, directory);
  if (!error) return std::nullopt;
  return "cannot create it in " + base::in_quotes(directory.string()) + ": " + error.message();
}

}  // namespace

std::optional<std::string> why_unusable_as_state(const fs::path& file) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  switch (status.type()) {
    case fs::file_type::regular:
      error = what_keeps_from(R_OK | W_OK, file);
      return error ? std::optional(error.message()) : std::nullopt;
    case fs::file_type::not_found:
      if (fs::is_symlink(fs::symlink_status(file, error))) {
        return "it is a link to a file that does not exist";
      }
      return why_not_creatable_in(file.has_parent_path() ? file.parent_path() : fs::path("."));
    case fs::file_type::none:
      return error.message();
    case fs::file_type::directory:
      return std::make_error_code(std::errc::is_a_directory).message();
    default:
      return "it is not a regular file";
  }
}

}  // namespace dflockd::config
