// Errors that cross the library border. The library never prints, aborts, exits or throws.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace shadowattn {

enum class StatusCode {
  kOk,
  kInvalidArgument,  ///< shapes, strides, pointers or options that make no sense; message says
                     ///< which
  kUnsupported,      ///< valid, but this build or machine has no way to do it
  kOutOfMemory,      ///< scratch memory could not be had; the output was not written
  kInternal,         ///< a bug in shadowattn
  kTimedOut,         ///< a device did not answer in time
  kDeviceFailed,     ///< a device went away or answered wrongly; it is lost
};

/// Success, or a code with one plain line for a person. Cheap to move; `ok()` needs no string.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status invalid_argument(std::string message) {
    return {StatusCode::kInvalidArgument, std::move(message)};
  }
  static Status unsupported(std::string message) {
    return {StatusCode::kUnsupported, std::move(message)};
  }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  /// Empty when ok().
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

/// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Status status) : state_(std::move(status)) { assert(!this->status().ok()); }

  bool ok() const { return std::holds_alternative<T>(state_); }
  /// Ok when there is a value.
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }

  /// Only when ok().
  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace shadowattn
