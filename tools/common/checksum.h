// Tells contents apart: 64-bit FNV-1a. Protects against nobody.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace shadowattn::tool {

class Checksum {
 public:
  void add(std::string_view bytes);
  /// As eight bytes, the lowest first, on every machine.
  void add(int64_t number);
  /// "fnv1a64:" and 16 hexadecimal digits.
  std::string text() const;

 private:
  uint64_t value_ = 0xcbf29ce484222325U;
};

}  // namespace shadowattn::tool
