// dflockd-bench: puts a lock server under load and reports how it did.

#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <variant>

#include "bench/load.hpp"
#include "bench/options.hpp"
#include "bench/report.hpp"

namespace {

using namespace dflockd::bench;

int run(const Options& options) {
  Load load(options);
  const Result& result = load.run();
  (options.json ? print_json : print_text)(std::cout, options, result);
  if (!std::cout.flush()) throw std::runtime_error("cannot write the result");
  if (result.errors > 0) {
    throw std::runtime_error(std::to_string(result.errors) +
                             " unexpected replies; the first: " + result.first_error);
  }
  if (result.cycles() == 0) {
    throw std::runtime_error(options.handshakes ? "no handshake was completed"
                                                : "no cycle was completed");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto parsed = parse_options(argc, argv, std::cout, std::cerr);
    if (const int* const status = std::get_if<int>(&parsed)) return *status;
    return run(std::get<Options>(parsed));
  } catch (const std::exception& error) {
    std::cerr << "dflockd-bench: " << error.what() << '\n';
    return 1;
  }
}
