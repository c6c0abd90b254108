// Loads configurations from arguments, an environment and files that a test makes up.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <sys/types.h>

#include <gtest/gtest.h>

#include "config/config.hpp"

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

/// While it lives, root is an ordinary user, whom file modes stop; others are that anyway.
class WithoutRootsRights {
 public:
  WithoutRootsRights();
  WithoutRootsRights(const WithoutRootsRights&) = delete;
  WithoutRootsRights& operator=(const WithoutRootsRights&) = delete;
  ~WithoutRootsRights();

 private:
  const uid_t was_;
};

/// A test with a directory of its own.
class DirectoryTest : public testing::Test {
 protected:
  DirectoryTest();
  ~DirectoryTest() override;

  /// Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view content) const;

  std::filesystem::path directory_;
};

}  // namespace dflockd::config
