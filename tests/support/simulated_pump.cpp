// The pump over the simulated stream: its definition is where those over the real ones are made.
#include "net/pump.cpp"  // NOLINT(bugprone-suspicious-include)
#include "support/simulated_stream.hpp"

namespace dflockd::net {

template class Pump<SimulatedStream>;

}  // namespace dflockd::net
