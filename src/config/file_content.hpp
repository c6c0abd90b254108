// Reads the files that the configuration names. Internal to the room.
#pragma once

#include <filesystem>
#include <string>

#include "config/secret.hpp"

namespace dflockd::config {

struct FileContent {
  WipedBytes bytes;
  bool readable_by_others = false;  ///< whether the file's mode lets every user read it
};

/// Reads the whole of a regular file of at most 1 MiB. Anything else is refused, because it might
/// block or never end. Throws Refusal, naming the file and `source` ("--config"), which named it.
[[nodiscard]] FileContent read_file(const std::filesystem::path& file, const std::string& source);

}  // namespace dflockd::config
