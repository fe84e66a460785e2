// json_value file.json pointer...: prints the value at each JSON pointer (/lengths/0/context), one
// a line, strings without quotes. Exit status 1 when there is none.

#include <cstdio>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: json_value file.json pointer...\n");
    return 2;
  }
  try {
    std::ifstream file(argv[1]);
    const nlohmann::json json = nlohmann::json::parse(file);
    for (int i = 2; i < argc; ++i) {
      const nlohmann::json& value = json.at(nlohmann::json::json_pointer(argv[i]));
      const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
      std::printf("%s\n", text.c_str());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "json_value: %s: %s\n", argv[1], error.what());
    return 1;
  }
  return 0;
}
