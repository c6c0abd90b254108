#include "fixture.hpp"

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <system_error>
#include <utility>

#include <unistd.h>

namespace dflockd::config {

std::variant<Loaded, Exit> load_from(const std::vector<std::string>& arguments,
                                     const Variables& variables, const Check& check) {
  std::vector<const char*> pointers;
  for (const std::string& argument : arguments) {
    pointers.push_back(argument.c_str());
  }
  std::vector<std::string> environment;
  std::vector<const char*> environment_pointers;
  for (const auto& [name, value] : variables) environment.push_back(name + "=" + value);
  for (const std::string& variable : environment) environment_pointers.push_back(variable.c_str());
  return load(pointers, environment_pointers, check);
}

Loaded accepted(const std::vector<std::string>& arguments, const Variables& variables,
                const Check& check) {
  auto result = load_from(arguments, variables, check);
  if (const auto* exit = std::get_if<Exit>(&result)) {
    ADD_FAILURE() << "not accepted: " << exit->text;
    return {};
  }
  return std::get<Loaded>(std::move(result));
}

std::string printed(const std::vector<std::string>& arguments, const Variables& variables,
                    const Check& check) {
  const auto result = load_from(arguments, variables, check);
  const auto* exit = std::get_if<Exit>(&result);
  if (exit == nullptr || exit->is_error()) {
    ADD_FAILURE() << "nothing printed: " << (exit == nullptr ? "" : exit->text);
    return {};
  }
  return exit->text;
}

std::string refused(const std::vector<std::string>& arguments, const Variables& variables,
                    const Check& check) {
  const auto result = load_from(arguments, variables, check);
  const auto* exit = std::get_if<Exit>(&result);
  if (exit == nullptr || exit->status != 2) {
    ADD_FAILURE() << "not refused";
    return {};
  }
  EXPECT_EQ(exit->text.find('\n'), exit->text.size() - 1) << "not one line: " << exit->text;
  return exit->text.substr(0, exit->text.size() - 1);
}

WithoutRootsRights::WithoutRootsRights() : was_(::geteuid()) {
  constexpr uid_t kNobody = 65534;
  if (was_ == 0) {
    EXPECT_EQ(::seteuid(kNobody), 0);
  }
}

WithoutRootsRights::~WithoutRootsRights() {
  EXPECT_EQ(::seteuid(was_), 0);
}

DirectoryTest::DirectoryTest() {
  std::string name = testing::TempDir() + "dflockd-config-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) {
    throw std::filesystem::filesystem_error("mkdtemp", name,
                                            std::error_code(errno, std::generic_category()));
  }
  directory_ = name;
}

DirectoryTest::~DirectoryTest() {
  std::error_code ignored;  // a directory that stays behind is no reason to fail
  std::filesystem::permissions(directory_, std::filesystem::perms::owner_all, ignored);
  std::filesystem::remove_all(directory_, ignored);
}

std::string DirectoryTest::write(const std::string& name, std::string_view content) const {
  const std::filesystem::path path = directory_ / name;
  std::ofstream(path, std::ios::binary) << content;
  return path.string();
}

}  // namespace dflockd::config
