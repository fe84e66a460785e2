#include "host_ggml.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdio>
#include <string>
#include <vector>

namespace shadowattn::plugin {
namespace {

// ggml 0.25.x: llama.cpp v0.5.0. The registry checks GGML_BACKEND_API_VERSION by itself.
constexpr std::string_view kKnownVersion = "0.25.";

/// A dlopen handle that is closed at the end of the scope; the library itself stays loaded,
/// because its host holds it.
class Library {
 public:
  explicit Library(void* handle) : handle_(handle) {}
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (handle_ != nullptr) dlclose(handle_);
  }
  void* get() const { return handle_; }

 private:
  void* handle_;
};

template <typename Function>
bool look_up(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

/// True when all functions were found. `library` may be RTLD_DEFAULT.
bool fill(void* library, HostGgml& host) {
  look_up(library, "ggml_log_internal", host.log);
  return look_up(library, "ggml_version", host.version) &&
         look_up(library, "ggml_type_name", host.type_name) &&
         look_up(library, "ggml_graph_n_nodes", host.graph_n_nodes) &&
         look_up(library, "ggml_graph_node", host.graph_node) &&
         look_up(library, "ggml_backend_buft_is_host", host.buft_is_host) &&
         look_up(library, "ggml_backend_cpu_buffer_type", host.cpu_buffer_type) &&
         look_up(library, "ggml_backend_cpu_buffer_from_ptr", host.cpu_buffer_from_ptr);
}

bool fill_from_loaded(const char* path, HostGgml& host) {
  const Library library(dlopen(path, RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD));
  return library.get() != nullptr && fill(library.get(), host);
}

/// The library that called us is the registry (libggml): its dependencies hold the right
/// libggml-base even when a process has several.
bool fill_from_caller(const void* caller, HostGgml& host) {
  Dl_info info{};
  return caller != nullptr && dladdr(caller, &info) != 0 && info.dli_fname != nullptr &&
         fill_from_loaded(info.dli_fname, host);
}

std::vector<std::string> loaded_ggml_bases() {
  std::vector<std::string> paths;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        const std::string_view path = info->dlpi_name == nullptr ? "" : info->dlpi_name;
        const std::string_view file = path.substr(path.find_last_of('/') + 1);
        if (file.starts_with("libggml-base")) {
          static_cast<std::vector<std::string>*>(data)->emplace_back(path);
        }
        return 0;
      },
      &paths);
  return paths;
}

bool find_functions(const void* caller, HostGgml& host) {
  if (fill_from_caller(caller, host)) return true;
  if (fill(RTLD_DEFAULT, host)) return true;
  // Bindings load their libraries with RTLD_LOCAL: visible by name only.
  for (const std::string& path : loaded_ggml_bases()) {
    if (fill_from_loaded(path.c_str(), host)) return true;
  }
  return false;
}

}  // namespace

void say(const HostGgml& host, ggml_log_level level, const std::string& message) {
  if (host.log != nullptr) {
    host.log(level, "shadowattn: %s\n", message.c_str());
  } else {
    std::fprintf(stderr, "shadowattn: %s\n", message.c_str());
  }
}

bool is_known_ggml_version(std::string_view version) { return version.starts_with(kKnownVersion); }

Result<HostGgml> find_host_ggml(const void* caller) {
  HostGgml host;
  if (!find_functions(caller, host)) {
    return Status::unsupported("this process has no ggml that the plug-in could use");
  }
  const char* version = host.version();
  if (version == nullptr || !is_known_ggml_version(version)) {
    return Status::unsupported(
        "the host has ggml " + std::string(version == nullptr ? "of no version" : version) +
        "; this build knows ggml " + std::string(kKnownVersion) + "x (llama.cpp v0.5.0) only");
  }
  return host;
}

}  // namespace shadowattn::plugin
