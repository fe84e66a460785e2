#include "common/checksum.h"

#include <array>
#include <cinttypes>
#include <cstdio>

namespace shadowattn::tool {

void Checksum::add(std::string_view bytes) {
  for (const char byte : bytes) {
    value_ = (value_ ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
  }
}

void Checksum::add(int64_t number) {
  std::array<char, 8> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>(static_cast<uint64_t>(number) >> (8 * i));
  }
  add({bytes.data(), bytes.size()});
}

std::string Checksum::text() const {
  std::array<char, 32> digits{};
  std::snprintf(digits.data(), digits.size(), "fnv1a64:%016" PRIx64, value_);
  return digits.data();
}

}  // namespace shadowattn::tool
