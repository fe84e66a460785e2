// What ends a command early: one plain line for a person, and an exit status.
#pragma once

#include <stdexcept>
#include <string>

namespace shadowattn::tool {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

/// Thrown anywhere in the command, caught in main, printed as "shadowattn: <what>".
class Failure : public std::runtime_error {
 public:
  explicit Failure(const std::string& message, int status = kExitFailure)
      : std::runtime_error(message), status_(status) {}

  int status() const { return status_; }

 private:
  int status_;
};

}  // namespace shadowattn::tool
