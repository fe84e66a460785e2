// Loads the plug-in as hosts do that are unlike llama.cpp's programs. Links no ggml.
//
//   loader_test alone <plug-in>              no ggml in the process
//   loader_test beside <library> <plug-in>   a libggml-base that only its loader sees
//   loader_test through <libggml> <plug-in>  by the registry of a libggml that only its loader sees
//
// Prints "entry" or "no entry"; the exit status says only whether it got so far.
#include <dlfcn.h>

#include <cstdio>
#include <string_view>

namespace {

void* load(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) std::fprintf(stderr, "not loadable: %s\n", dlerror());
  return library;
}

template <typename Function>
Function* find(void* library, const char* name) {
  return library == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(library, name));
}

int finish(const void* entry) {
  std::puts(entry == nullptr ? "no entry" : "entry");
  return 0;
}

int load_directly(const char* path) {
  void* plugin = load(path);
  auto* init = find<void*()>(plugin, "ggml_backend_init");
  if (init == nullptr) return 1;
  const void* entry = init();
  if (init() != entry) return 1;
  finish(entry);
  return dlclose(plugin);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view how = argc > 1 ? argv[1] : "";
  if (how == "alone" && argc == 3) return load_directly(argv[2]);
  if (how == "beside" && argc == 4) return load(argv[2]) == nullptr ? 1 : load_directly(argv[3]);
  if (how == "through" && argc == 4) {
    auto* load_backend = find<void*(const char*)>(load(argv[2]), "ggml_backend_load");
    return load_backend == nullptr ? 1 : finish(load_backend(argv[3]));
  }
  std::fprintf(stderr, "bad arguments\n");
  return 2;
}
