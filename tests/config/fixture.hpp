// Loads configurations from arguments, an environment and files that a test makes up.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "config/config.hpp"
#include "support/files.hpp"

namespace dflockd::config {

using Variables = std::map<std::string, std::string>;

std::variant<Loaded, Exit> load_from(const std::vector<std::string>& arguments,
                                     const Variables& variables = {}, const Check& check = nullptr);

/// The configuration; fails the test if something is refused.
Loaded accepted(const std::vector<std::string>& arguments, const Variables& variables = {},
                const Check& check = nullptr);

/// What is printed by --help, --version or --check-config; fails the test if something is refused.
std::string printed(const std::vector<std::string>& arguments, const Variables& variables = {},
                    const Check& check = nullptr);

/// The error line without its newline; fails the test if nothing is refused.
std::string refused(const std::vector<std::string>& arguments, const Variables& variables = {},
                    const Check& check = nullptr);

using test::WithoutRootsRights;

/// A test with a directory of its own.
class DirectoryTest : public testing::Test {
 protected:
  /// Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view content) const {
    test::write_file(directory_ / name, content);
    return directory_ / name;
  }

  const test::TemporaryDirectory temporary_;
  const std::filesystem::path directory_ = temporary_.path();
};

}  // namespace dflockd::config
