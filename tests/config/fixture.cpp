#include "fixture.hpp"

#include <utility>

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

}  // namespace dflockd::config
