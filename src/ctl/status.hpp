// What dflockctl exits with, besides 0 and the status of the command that it ran.
#pragma once

namespace dflockd::ctl {

inline constexpr int kUsage = 2;
inline constexpr int kLost = 123;     ///< the lock was lost, or is not held
inline constexpr int kTimeout = 124;  ///< not granted in time, as timeout(1) has it
inline constexpr int kFailed = 125;   ///< dflockctl failed, or the server could not be asked
inline constexpr int kCannotExecute = 126;
inline constexpr int kNotFound = 127;
inline constexpr int kSignal = 128;  ///< plus the number of the signal

}  // namespace dflockd::ctl
