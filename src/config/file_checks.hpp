// What --check-config looks at on disk. Internal to the room.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace dflockd::config {

/// Whether the server could keep its state in `file`: a regular file that it may read and write,
/// or none yet in a directory where it may create one. Changes nothing. Returns what is wrong, in
/// words that go behind the file's name.
[[nodiscard]] std::optional<std::string> why_unusable_as_state(const std::filesystem::path& file);

}  // namespace dflockd::config
